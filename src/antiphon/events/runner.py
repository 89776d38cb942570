"""What a service carries besides its handlers: anything that starts, drains and tells how it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Runner(Protocol):
    """A relay, a projection, a saga's timers: the runtime starts and drains it and knows nothing else of it."""

    name: str

    async def start(self) -> None:
        """Begin; returns once it runs. Starting twice is an error."""
        ...

    async def drain(self) -> None:
        """Finish or release what runs, then stop; returns once nothing runs. Twice is safe."""
        ...

    def status(self) -> Mapping[str, str | int | float | bool]:
        """How it is now; cheap, never waits."""
        ...
