"""Messages set aside in a store, works that come from there, and routes that say as little as must be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace

from antiphon.brokers.ports import Delivery, Partition
from antiphon.runtime.claims import Claim, LaneRun
from antiphon.runtime.work import Work
from antiphon.storage.database import Database
from antiphon.storage.set_aside import AsideState, SetAside, set_aside
from tests.unit.runtime.shop_events import a_message

START = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = Partition("orders", 0)


def an_item(number: int, key: str | None = "order-1", state: AsideState = AsideState.DELAYED, **changes) -> SetAside:
    """The `number`-th message of the topic, due at once."""
    fields = {
        "message": a_message(key),
        "topic": PLACE.topic,
        "partition": PLACE.number,
        "position": str(number),
        "service": "payments",
        "group": "payments",
        "handler": "take",
        "lane": key,
        "state": state,
        "since": START,
        "due_at": START,
    }
    return SetAside(**{**fields, **changes})


async def keep(database: Database, items: Sequence[SetAside]) -> None:
    async with database.transaction() as tx:
        await set_aside(tx, items)


async def states(database: Database) -> list[tuple[str, int, int]]:
    """Position, state, and whether somebody holds it, of everything set aside, in order."""
    sql = "select position, state, token is not null from antiphon_set_aside order by number"
    return await database.fetch(sql, row=tuple[str, int, int])


def a_route(*, ordered: bool = True) -> SimpleNamespace:
    instruments = SimpleNamespace(late=SimpleNamespace(inc=lambda: None))
    return SimpleNamespace(name="take", ordered=ordered, gate=None, instruments=instruments, reply=None)


def a_work(
    key: str | None = "order-1",
    topic: str = "orders",
    *,
    ordered: bool = True,
    position: str = "0",
    partition: int = 0,
    **message,
) -> Work:
    """A work straight from the broker."""
    place = Partition(topic, partition)
    return Work(Delivery(place, position, a_message(key, **message)), a_route(ordered=ordered))


def a_claimed_work(run: LaneRun | None = None) -> Work:
    """A work that was set aside before."""
    claim = Claim(1, ("orders", "order-1"), run or LaneRun())
    return Work(Delivery(PLACE, "0", a_message("order-1"), handle=claim), a_route())
