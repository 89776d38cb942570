"""A login that is refused at the start is final; who was let in before waits, and goes on once it is let in again."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from antiphon.brokers.postgres import PostgresBroker
from antiphon.errors import StoreAccessError, StoreUnavailableError
from antiphon.runtime.health import readiness
from antiphon.storage.postgres import PostgresDatabase
from antiphon.testing.servers import PostgresServer
from tests.integration.postgres.guarding import WAYS, Gate, guard, shops
from tests.integration.postgres_broker.test_faults import (
    assert_each_once,
    paid,
    paying,
    place_orders,
    place_whatever_happens,
    until,
)


@pytest.fixture(scope="module")
def guarded() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        guard(server)
        yield server


@pytest.fixture(params=[*WAYS])
async def gate(request: pytest.FixtureRequest, guarded: PostgresServer) -> AsyncIterator[Gate]:
    admin = PostgresDatabase(guarded.url)
    await admin.open()
    gate = Gate(admin, WAYS[request.param])
    await gate.make()
    yield gate
    await admin.close()


async def test_a_service_that_is_let_in_no_more_says_so_and_goes_on_once_it_is_again(
    guarded: PostgresServer, gate: Gate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = PostgresBroker(shops(guarded, "shut_out"))
    await broker.open()
    service = paying(broker)

    async def is_named() -> bool:
        return any(gate.way.said in problem for problem in readiness([service.health]).problems)

    async def is_ready() -> bool:
        return readiness([service.health]).ok

    async with paid(broker, tmp_path, service):
        await place_orders(service, range(100))
        await gate.shut()
        await until(is_named)
        with pytest.raises(StoreUnavailableError, match=gate.way.said) as raised:
            await place_orders(service, range(100, 101))
        assert "we were let in before" in str(raised.value)
        assert "secret" not in str(raised.value)
        assert service.health.state == "running"
        said = [each for each in caplog.records if each.levelno >= logging.WARNING and gate.way.said in each.message]
        assert [each.name for each in said].count("antiphon.service.payments") == 1
        await gate.open()
        await place_whatever_happens(service, range(100, 200))
        await until(service.caught_up)
        await until(is_ready)
        await assert_each_once(broker, 200)
    await broker.close()


async def test_a_login_that_is_refused_at_the_start_is_final(guarded: PostgresServer, gate: Gate) -> None:
    broker = PostgresBroker(shops(guarded, "never_in"))
    await broker.open()
    await gate.shut()
    with pytest.raises(StoreAccessError, match=gate.way.said):
        await PostgresBroker(shops(guarded, "never_in")).open()
    await broker.close()
    with pytest.raises(StoreAccessError, match=gate.way.said):
        await broker.open()
    await gate.open()
    await broker.open()
    await broker.close()
