"""Who lives is judged by what changes before one's eyes."""

from datetime import timedelta

from antiphon.brokers.nats.membership import Membership
from antiphon.brokers.nats.table import Cursor, Kept, Seat, Standing
from antiphon.brokers.ports import Partition

HERE = Partition("orders", 0)


def standing(owner: str | None, **revisions: int) -> Standing:
    cursor = Cursor(group="g", topic="orders", number=0, owner=owner, epoch=3)
    seat = Seat(group="g", name="n", topics=["orders"])
    return Standing({HERE: Kept(cursor, 1)}, {id: Kept(seat, revision) for id, revision in revisions.items()})


def claims(member: Membership, found: Standing, now: float) -> list[int]:
    member.hear(found.members, now)
    return [lease.epoch for lease in member.plan(found, now).claim]


def a_member() -> Membership:
    return Membership("me", frozenset({"orders"}), timedelta(seconds=10))


def test_who_changes_its_key_keeps_what_it_has() -> None:
    me = a_member()
    assert all(claims(me, standing("other", me=1, other=now), now) == [] for now in range(0, 60, 3))


def test_who_is_silent_for_a_lease_loses_it() -> None:
    me, found = a_member(), standing("other", me=1, other=7)
    assert [claims(me, found, now) for now in (0, 4, 8, 9.9, 10)] == [[], [], [], [], [4]]


def test_who_could_see_nobody_for_a_while_takes_nobody_for_dead() -> None:
    me, found = a_member(), standing("other", me=1, other=7)
    assert [claims(me, found, now) for now in (0, 4, 60, 64, 68, 70)] == [[], [], [], [], [], [4]]


def test_a_lease_of_nobody_and_of_one_that_left_is_free() -> None:
    assert claims(a_member(), standing(None, me=1), 0) == [4]
    assert claims(a_member(), standing("gone", me=1), 0) == [4]


def test_who_is_silent_for_very_long_is_forgotten() -> None:
    me, found = a_member(), standing("other", me=1, other=7)
    for now in range(0, 110, 4):
        me.hear(found.members, now)
    assert me.silent(99) == []
    assert me.silent(101) == ["other"]
