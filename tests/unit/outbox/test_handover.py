"""Whatever a broker says of a batch, each message of it ends in one of four ways, and none blocks the others."""

from datetime import UTC, datetime

import pytest

from antiphon.brokers.screening import screen
from antiphon.errors import (
    AccessDeniedError,
    ClosedError,
    ConnectionLostError,
    DataLostError,
    PublishError,
    Refusal,
    StatementError,
    StoreCorruptError,
    StoreFullError,
    UnknownTopicError,
)
from antiphon.events.message import Message, Outgoing
from antiphon.outbox.handover import Handover
from antiphon.storage.schedule import Due

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def due(number, key=None):
    return Due(number, Outgoing("orders", Message(f"m{number}", "OrderPlaced", NOW, b"{}", key)))


def numbers(found):
    return [each.number for each in found]


class Road:
    """A broker that refuses some ids, for good or for now, and breaks on others; it holds what it took."""

    def __init__(self, *, is_whole=True, bad=(), busy=(), breaks=None):
        self.is_whole, self.bad, self.busy, self.breaks = is_whole, bad, busy, breaks or {}
        self.held = []
        self.calls = 0

    async def publish(self, outgoing):
        self.calls += 1
        ids = [one.message.id for one in outgoing]
        for id in ids:
            if id in self.breaks:
                raise self.breaks[id]
        accepted, refusals = screen(outgoing, lambda one: "bad" if one.message.id in self.bad else None)
        busy = [one for one in accepted if one.message.id in self.busy]
        refusals += [Refusal(one.topic, one.message.id, "busy", retryable=True) for one in busy]
        if not (refusals and self.is_whole):
            self.held += [one.message.id for one in accepted if one not in busy]
        if refusals:
            raise PublishError(refusals)

    async def take(self, *batch):
        handover = Handover(self.publish, is_whole=self.is_whole)
        await handover.run(batch)
        return handover


EITHER = pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "in parts"])


@EITHER
async def test_what_is_taken_is_published_with_one_call(is_whole):
    road = Road(is_whole=is_whole)
    handover = await road.take(due(1), due(2))
    assert (numbers(handover.published), road.held, road.calls) == ([1, 2], ["m1", "m2"], 1)


async def test_nothing_is_published_with_no_call():
    road = Road()
    assert (await road.take()).published == []
    assert road.calls == 0


@EITHER
async def test_one_refused_for_good_fails_and_the_others_go_in_order(is_whole):
    road = Road(is_whole=is_whole, bad=["m2"])
    handover = await road.take(due(1, "a"), due(2, "a"), due(3, "a"), due(4, "b"))
    assert [(each.number, reason) for each, reason in handover.failed] == [(2, "bad")]
    assert sorted(numbers(handover.published)) == [1, 3, 4]
    assert [id for id in road.held if id != "m4"] == ["m1", "m3"]
    assert handover.put_off == handover.in_doubt == []


@EITHER
async def test_many_refused_of_one_key_all_fail(is_whole):
    road = Road(is_whole=is_whole, bad=[f"m{number}" for number in range(300)])
    handover = await road.take(*[due(number, "a") for number in range(301)])
    assert len(handover.failed) == 300
    assert road.held == ["m300"]


@EITHER
async def test_one_refused_for_now_is_put_off_and_the_others_go(is_whole):
    road = Road(is_whole=is_whole, busy=["m2"])
    handover = await road.take(due(1), due(2), due(3))
    assert (numbers(handover.put_off), numbers(handover.published)) == ([2], [1, 3])
    assert road.held == ["m1", "m3"]


@pytest.mark.parametrize("error", [UnknownTopicError("orders"), StatementError("no such thing")])
@EITHER
async def test_one_that_breaks_the_batch_is_found_and_fails_alone(is_whole, error):
    road = Road(is_whole=is_whole, breaks={"m2": error})
    handover = await road.take(due(1), due(2), due(3))
    assert road.held == ["m1", "m3"]
    ((failed, reason),) = handover.failed
    assert failed.number == 2
    assert reason == f"{type(error).__name__}: {error}"


async def test_what_nobody_explains_may_pass_and_keeps_nothing_else_waiting():
    road = Road(breaks={"m2": KeyError("a defect")})
    handover = await road.take(due(1), due(2), due(3))
    assert numbers(handover.in_doubt) == [2]
    assert road.held == ["m1", "m3"]


@pytest.mark.parametrize(
    "error",
    [
        ConnectionLostError("gone"),
        AccessDeniedError("no right"),
        DataLostError("wiped"),
        StoreFullError("full"),
        StoreCorruptError("damaged"),
        ClosedError("it", "publish"),
    ],
)
async def test_what_is_no_messages_fault_is_raised_and_leaves_the_rest_in_doubt(error):
    road = Road(is_whole=False, bad=["m1"])

    async def lose(outgoing):
        await road.publish(outgoing)
        raise error

    handover = Handover(lose, is_whole=False)
    with pytest.raises(type(error)):
        await handover.run([due(1, "a"), due(2, "a"), due(3)])
    assert [each.number for each, _ in handover.failed] == [1]
    assert numbers(handover.published) == [3]
    assert numbers(handover.in_doubt) == [2]


async def test_a_refusal_of_nothing_that_was_handed_over_is_raised():
    async def refuse(_):
        raise PublishError([Refusal("orders", "another", "bad")])

    with pytest.raises(PublishError):
        await Handover(refuse, is_whole=True).run([due(1)])
