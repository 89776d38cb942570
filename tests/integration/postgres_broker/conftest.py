"""A log in a schema of its own for each test, and processes that do not outlive it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from antiphon.brokers.postgres import PostgresBroker
from antiphon.testing.servers import PostgresServer
from tests.integration.postgres_broker.processes import Child


@pytest.fixture
async def broker(postgres_url: str) -> AsyncIterator[PostgresBroker]:
    opened = PostgresBroker(postgres_url)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def mortal() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def spawn(postgres_url: str) -> Iterator[Callable[[str], Child]]:
    """Starts a process in a role on the same log."""
    children: list[Child] = []

    def start(role: str) -> Child:
        children.append(Child(role, postgres_url))
        return children[-1]

    yield start
    for child in children:
        child.kill()
