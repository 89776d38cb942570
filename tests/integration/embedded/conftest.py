"""A log in a file of its own for each test, and processes that do not outlive it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from antiphon.brokers.embedded import EmbeddedBroker
from tests.integration.embedded.processes import Child


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
async def broker(path: Path) -> AsyncIterator[EmbeddedBroker]:
    opened = EmbeddedBroker(path)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def spawn(path: Path) -> Iterator[Callable[..., Child]]:
    """Starts a process in a role on the same file."""
    children: list[Child] = []

    def start(role: str, lease: float = 10) -> Child:
        children.append(Child(role, path, lease))
        return children[-1]

    yield start
    for child in children:
        child.kill()
