"""What handlers ask for by type: made once, in order of need, closed in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from antiphon.errors import DeclarationError, HandlingError
from antiphon.runtime.dependencies import Dependencies, fetched_type, read_provider
from tests.unit.runtime.shop_events import OrderReadyToShip


class Settings:
    pass


class Pool:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings


class Gateway:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool


@pytest.fixture
def trace() -> list[str]:
    return []


def providers(*functions):
    found = [read_provider(function, {}) for function in functions]
    return {each.gives: each for each in found}


def chain(trace):
    def gateway(pool: Pool) -> Iterator[Gateway]:
        trace.append("open gateway")
        yield Gateway(pool)
        trace.append("close gateway")

    async def pool(settings: Settings) -> AsyncIterator[Pool]:
        trace.append("open pool")
        yield Pool(settings)
        trace.append("close pool")

    async def settings() -> Settings:
        trace.append("settings")
        return Settings()

    return providers(gateway, pool, settings)


async def test_each_is_made_once_after_what_it_needs_and_closed_in_reverse(trace):
    dependencies = Dependencies(chain(trace))
    await dependencies.open()
    assert trace == ["settings", "open pool", "open gateway"]
    gateway = dependencies.values[Gateway]
    assert isinstance(gateway, Gateway)
    assert gateway.pool is dependencies.values[Pool]
    assert gateway.pool.settings is dependencies.values[Settings]
    await dependencies.close()
    assert trace[3:] == ["close gateway", "close pool"]
    await dependencies.close()
    assert len(trace) == 5


async def test_what_is_given_is_used_and_neither_made_nor_closed(trace):
    given = Pool(Settings())
    dependencies = Dependencies(chain(trace), {Pool: given})
    await dependencies.open()
    gateway = dependencies.values[Gateway]
    assert isinstance(gateway, Gateway)
    assert gateway.pool is given
    await dependencies.close()
    assert "open pool" not in trace
    assert "close pool" not in trace


async def test_when_one_cannot_be_made_the_others_are_closed(trace):
    def broken(pool: Pool) -> Gateway:
        raise ConnectionRefusedError("no gateway")

    dependencies = Dependencies({**chain(trace), **providers(broken)})
    with pytest.raises(
        HandlingError, match=r"broken.* which provides Gateway: ConnectionRefusedError: no gateway"
    ) as caught:
        await dependencies.open()
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert trace == ["settings", "open pool", "close pool"]


async def test_a_circle_is_told_with_its_whole_path():
    def gateway(pool: Pool) -> Gateway: ...

    def pool(settings: Settings) -> Pool: ...

    def settings(gateway: Gateway) -> Settings: ...

    dependencies = Dependencies(providers(gateway, pool, settings))
    with pytest.raises(DeclarationError, match="in a circle: Gateway -> Pool -> Settings -> Gateway"):
        await dependencies.open()


def nothing(): ...
def none() -> None: ...
def several() -> Pool | Gateway: ...
def listed() -> list[Pool]: ...
def vague(pool) -> Gateway: ...
def either(pool: Pool | None) -> Gateway: ...


@pytest.mark.parametrize("function", [nothing, none, several, listed])
def test_a_provider_says_what_it_gives(function):
    with pytest.raises(DeclarationError, match="says what it gives by its return annotation, one class"):
        read_provider(function, {})


@pytest.mark.parametrize("function", [vague, either])
def test_a_provider_says_what_it_needs(function):
    with pytest.raises(DeclarationError, match="parameter 'pool' must be annotated with one class"):
        read_provider(function, {})


def test_a_fetcher_is_an_async_function_that_says_what_it_gives():
    async def address(note: OrderReadyToShip) -> Pool: ...

    def plain(note: OrderReadyToShip) -> Pool: ...

    async def silent(note: OrderReadyToShip): ...

    assert fetched_type(address, {}) is Pool
    for refused in (plain, silent):
        with pytest.raises(DeclarationError, match="a fetcher is an async function whose return annotation is one"):
            fetched_type(refused, {})
