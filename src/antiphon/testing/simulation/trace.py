"""What happened, step by step, and which promise that broke: so that a run can be understood, and run again."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.events.clock import Clock

_SHOWN = 40
"""Lines of the trace that an error shows: enough to see what led to it, and the rest is in its `trace`."""


class BrokenPromiseError(AssertionError):
    """A promise was broken in a simulation: which one, in which step, and all that led to it.

    The same `seed`, services and events lead to the same step again.
    """

    def __init__(self, promise: str, seed: int, step: int, trace: Sequence[str]) -> None:
        self.promise, self.seed, self.step, self.trace = promise, seed, step, tuple(trace)
        last = "\n".join(f"  {line}" for line in self.trace[-_SHOWN:])
        super().__init__(
            f"seed {seed}, step {step}: {promise}\nwhat led to it, the last {min(_SHOWN, len(self.trace))} of "
            f"{len(self.trace)} lines; the same seed does it again:\n{last}"
        )


class Trace:
    """Notes what happens, with its step and time; and the first promise that is broken, for the simulator to raise."""

    def __init__(self, seed: int, clock: Clock) -> None:
        self.seed, self._clock = seed, clock
        self.step = 0
        self.lines: list[str] = []
        self.broken: BrokenPromiseError | None = None

    def note(self, line: str) -> None:
        """Add a line."""
        self.lines.append(f"{self.step:>4} {self._clock.monotonic():>12.6f} {line}")

    def fail(self, promise: str) -> None:
        """Say that a promise was broken; where nobody is to catch it, so that the next step raises it."""
        self.note(f"BROKEN: {promise}")
        if self.broken is None:
            self.broken = BrokenPromiseError(promise, self.seed, self.step, self.lines)

    def raise_broken(self) -> None:
        """Raise BrokenPromiseError when a promise was broken."""
        if self.broken is not None:
            raise self.broken
