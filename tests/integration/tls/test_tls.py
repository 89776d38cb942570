"""Behind TLS: who is believed is spoken with, who is not is told at once why, and nothing is said in the clear."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from antiphon import Key, Service, Struct, event
from antiphon.brokers import connect
from antiphon.errors import AccessDeniedError, AntiphonError, BrokerError, StoreAccessError, StoreError
from antiphon.runtime.settings import ServiceSettings, Settings
from tests.integration.postgres.cutting import road_to
from tests.integration.tls.authority import HAS_OPENSSL, Authority
from tests.integration.tls.doors import KINDS, PASSWORD, Door, Doors
from tests.integration.tls.overhearing import OverheardRoad

pytestmark = [
    pytest.mark.skipif(not HAS_OPENSSL, reason="there is no openssl to sign certificates with"),
    pytest.mark.timeout(120),
]
SOON = 4.0


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("others"))


@pytest.fixture(scope="module")
def doors(ours: Authority) -> Iterator[Doors]:
    with ExitStack() as stack:
        yield Doors(stack, ours)


@pytest.fixture(params=KINDS)
def door(request: pytest.FixtureRequest, doors: Doors) -> Door:
    return doors.door(request.param)


async def refused(url: str) -> AntiphonError:
    """What is told to whoever opens a broker there, or a store. It is soon told, is ours, and has no secret."""
    began = time.monotonic()
    with pytest.raises((BrokerError, StoreError)) as raised:
        await connect(url).open()
    assert time.monotonic() - began < SOON
    error = raised.value
    assert type(error).__module__.startswith("antiphon.")
    assert not error.retryable, "another try cannot help"
    assert error.__cause__ is not None
    assert PASSWORD not in str(error)
    assert "127.0.0.1" in str(error)
    return error


async def handled(door: Door, url: str, count: int) -> set[str]:
    """The orders that a service was handed which were published by it."""
    service, seen = Service("payments"), set[str]()

    @service.on(OrderPlaced)
    async def pay(order: OrderPlaced) -> None:
        seen.add(order.order_id)

    broker, store = connect(url), door.store(url)
    await broker.open()
    await store.open()
    await service.start(broker, Settings(common=ServiceSettings(broker=broker.url)), store=store)
    await service.publish_all([OrderPlaced(f"o-{number}") for number in range(count)])
    async with asyncio.timeout(30):
        while len(seen) < count:  # noqa: ASYNC110 - nobody sets an event when it comes true
            await asyncio.sleep(0.02)
    await service.stop()
    await store.close()
    await broker.close()
    return seen


async def test_a_service_publishes_and_handles_and_nobody_on_the_way_can_read_it(door: Door, ours: Authority) -> None:
    async with road_to(door.guarded, OverheardRoad) as (road, port):
        seen = await handled(door, door.url(door.trusting.format(ours.file), port), 20)
        assert seen == {f"o-{number}" for number in range(20)}
        assert isinstance(road, OverheardRoad)
        assert road.heard
        assert PASSWORD.encode() not in road.heard
        assert b"OrderPlaced" not in road.heard


@pytest.mark.parametrize("authority", ["unnamed", "another"])
async def test_a_server_that_nobody_vouches_for_is_refused_with_the_option_that_names_who_does(
    door: Door, others: Authority, authority: str
) -> None:
    options = door.unknown if authority == "unnamed" else door.trusting.format(others.file)
    async with road_to(door.guarded, OverheardRoad) as (road, port):
        error = await refused(door.url(options, port))
        assert "certificate" in str(error)
        assert door.option in str(error)
        assert isinstance(road, OverheardRoad)
        assert PASSWORD.encode() not in road.heard


async def test_a_server_whose_certificate_is_another_hosts_is_refused(door: Door, ours: Authority) -> None:
    url = door.url(door.trusting.format(ours.file), door.guarded).replace("@127.0.0.1", "@localhost")
    with pytest.raises((BrokerError, StoreError), match="name the host") as raised:
        await connect(url).open()
    assert not raised.value.retryable


async def test_who_asks_for_tls_where_there_is_none_is_told_so_and_says_nothing_in_the_clear(
    door: Door, ours: Authority
) -> None:
    async with road_to(door.plain, OverheardRoad) as (road, port):
        error = await refused(door.url(door.trusting.format(ours.file), port))
        assert any(said in str(error) for said in ("look at the port, or leave tls out", "turn it on there"))
        assert isinstance(road, OverheardRoad)
        assert PASSWORD.encode() not in road.heard


async def test_who_does_not_ask_for_tls_where_it_is_spoken_is_told_what_to_write(door: Door) -> None:
    error = await refused(door.url(door.off, door.guarded))
    assert any(said in str(error) for said in ("say tls=true", "say sslmode=verify-full"))


async def test_a_wrong_password_is_told_as_that(door: Door, ours: Authority) -> None:
    error = await refused(door.url(door.trusting.format(ours.file), door.guarded, "guessed"))
    assert isinstance(error, AccessDeniedError | StoreAccessError)
    assert "password" in str(error)
    assert "guessed" not in str(error)
