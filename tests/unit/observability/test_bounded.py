"""A label that anything may be in takes no more values than were allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import UsageError
from antiphon.observability.bounded import OTHER, BoundedValues


def test_values_beyond_the_limit_are_other():
    values = BoundedValues(most=2)
    assert [values.admit("authorise", value) for value in ("a", "b", "c", "d")] == ["a", "b", OTHER, OTHER]


def test_a_value_once_let_through_is_never_taken_back():
    values = BoundedValues(most=1)
    values.admit("authorise", "a")
    values.admit("authorise", "b")
    assert values.admit("authorise", "a") == "a"
    assert values.admit("authorise", "b") == OTHER


def test_owners_take_nothing_from_each_other():
    values = BoundedValues(most=1)
    assert (values.admit("authorise", "a"), values.admit("place", "b")) == ("a", "b")


def test_a_value_named_other_takes_no_room():
    values = BoundedValues(most=1)
    assert values.admit("authorise", OTHER) == OTHER
    assert values.admit("authorise", "a") == "a"


def test_fifty_differ_when_nothing_is_said():
    values = BoundedValues()
    told = [values.admit("authorise", f"{number:012x}") for number in range(60)]
    assert (len(set(told)), told.count(OTHER)) == (51, 10)


@given(st.integers(1, 5), st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("uvwxyz"))))
def test_no_owner_has_more_values_than_allowed_and_other_in_any_order(most, asked):
    values, told = BoundedValues(most), {}
    for owner, value in asked:
        told.setdefault(owner, set()).add(values.admit(owner, value))
    assert all(len(seen - {OTHER}) <= most for seen in told.values())


def test_a_limit_without_room_is_refused():
    with pytest.raises(UsageError, match="allowed 0 values: it needs at least 1"):
        BoundedValues(most=0)
