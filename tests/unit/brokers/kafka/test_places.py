"""Where a group stands is the cluster's word, unless a seek was asked for that nobody followed yet."""

from __future__ import annotations

import pytest

from antiphon.brokers.kafka.client import Committed
from antiphon.brokers.kafka.places import DONE, Place, offset_of, place_of, position, standing
from antiphon.brokers.ports import Partition
from antiphon.errors import UsageError

P, Q = Partition("orders", 0), Partition("orders", 1)


@pytest.mark.parametrize("place", [Place(7), Place(7, "abc"), Place(7, "", 3), Place(0, "abc", 3)])
def test_a_place_is_read_as_it_was_committed(place):
    assert place_of(place.committed()) == place


def test_what_others_write_beside_an_offset_is_nothing_to_us():
    assert place_of(Committed(7, "by somebody else")) == Place(7)


def test_a_command_counts_until_a_commit_carries_its_token():
    commands = {P: Committed(2, "token")}
    assert standing({P: Committed(9, "")}, commands) == {P: Place(2, "token")}
    assert standing({P: Committed(9, "seek=older skipped=4")}, commands) == {P: Place(2, "token", 4)}
    assert standing({P: Committed(5, "seek=token")}, commands) == {P: Place(5, "token")}


def test_a_command_moves_a_group_that_has_no_position():
    assert standing({}, {P: Committed(2, "token")}) == {P: Place(2, "token")}


def test_a_command_that_was_followed_is_over():
    """Other tools may move the group then, who know nothing of tokens."""
    assert standing({P: Committed(3, "")}, {P: DONE, Q: DONE}) == {P: Place(3)}


def test_a_position_is_the_offset_of_what_was_done_last():
    assert (position(0), position(8)) == ("-1", "7")
    assert offset_of("-1") == -1


@pytest.mark.parametrize("wrong", ["-2", "", "start", "1.5"])
def test_what_is_no_position_is_refused(wrong):
    with pytest.raises(UsageError):
        offset_of(wrong)
