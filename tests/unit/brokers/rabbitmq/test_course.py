"""Do all who read the same records of a group know the same, and does an older epoch move nothing?"""

from __future__ import annotations

import random

import msgspec

from antiphon.brokers.ports import Partition
from antiphon.brokers.rabbitmq.course import Course, Kind, Mark, Place, Seat

ORDERS = Partition("orders", 0)


def a_course(*marks: Mark) -> Course:
    course = Course(lambda: 7.0)
    for mark in marks:
        course.apply(mark)
    return course


def place(epoch: int = 0, position: int = 0, skipped: int = 0, number: int = 0) -> Place:
    return Place("orders", number, position, epoch, skipped=skipped)


JOINED = Mark("join", seats=[Seat("a", "first", ["orders"])])
BEGUN = Mark("begin", places=[place(position=5)])
CLAIMED = Mark("claim", "a", [place(epoch=0)])


def test_of_two_that_claim_a_partition_the_earlier_one_has_it() -> None:
    course = a_course(BEGUN, CLAIMED, Mark("claim", "b", [place(epoch=0)]))
    assert (course.places[ORDERS].owner, course.places[ORDERS].epoch) == ("a", 1)


def test_only_the_owner_moves_the_watermark_and_never_back() -> None:
    course = a_course(BEGUN, CLAIMED)
    for member, epoch, position in (("b", 1, 9), ("a", 0, 9), ("a", 1, 8), ("a", 1, 6)):
        course.apply(Mark("move", member, [place(epoch, position)]))
    assert course.places[ORDERS].position == 8


def test_what_was_passed_over_is_counted() -> None:
    course = a_course(BEGUN, CLAIMED, Mark("move", "a", [place(1, 20, skipped=15)]))
    assert (course.places[ORDERS].position, course.places[ORDERS].skipped) == (20, 15)


def test_a_seek_may_move_back_and_fences_what_was_read_before() -> None:
    course = a_course(BEGUN, CLAIMED, Mark("seek", places=[place(position=1)]), Mark("move", "a", [place(1, 30)]))
    assert (course.places[ORDERS].owner, course.places[ORDERS].position) == ("a", 1)
    course.apply(Mark("move", "a", [place(2, 3)]))
    assert course.places[ORDERS].position == 3


def test_a_place_that_there_is_begins_only_once() -> None:
    assert a_course(BEGUN, Mark("begin", places=[place(position=0)])).places[ORDERS].position == 5


def test_who_leaves_owns_nothing_and_who_yields_one_keeps_the_others() -> None:
    both = Mark("begin", places=[place(), place(number=1)])
    claimed = Mark("claim", "a", [place(), place(number=1)])
    course = a_course(JOINED, both, claimed, Mark("yield", "a", [place(epoch=1)]))
    assert [each.owner for each in course.places.values()] == [None, "a"]
    course.apply(Mark("leave", "a"))
    assert [each.owner for each in course.places.values()] == [None, None]
    assert not course.seats
    assert not course.heard


def test_who_begins_from_a_whole_knows_what_those_know_who_read_everything() -> None:
    for seed in range(50):
        chance = random.Random(seed)
        marks = [JOINED, BEGUN, *(a_mark(chance) for _ in range(60))]
        cut = chance.randrange(2, len(marks))
        whole = msgspec.json.decode(msgspec.json.encode(a_course(*marks[:cut]).whole(cut - 1)), type=Mark)
        late = Course(lambda: 7.0)
        late.begin_from(whole)
        for mark in marks[cut:]:
            late.apply(mark)
        every = a_course(*(msgspec.json.decode(msgspec.json.encode(mark), type=Mark) for mark in marks))
        assert late.places == every.places
        assert late.seats == every.seats


def a_mark(chance: random.Random) -> Mark:
    kinds: tuple[Kind, ...] = ("join", "leave", "begin", "claim", "yield", "move", "seek", "look")
    member, kind = chance.choice("ab"), chance.choice(kinds)
    wanted = place(chance.randrange(6), chance.randrange(99), number=chance.randrange(3))
    return Mark(kind, member, [wanted], [Seat(member, member, ["orders"])] if kind == "join" else [])
