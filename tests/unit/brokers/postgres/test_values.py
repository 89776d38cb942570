"""Do texts and numbers come back from the server as they were sent, as far as can be told without one?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.brokers.postgres.arrays import numbers, texts, texts_or_nulls
from antiphon.brokers.postgres.odd import MARK, any_marked, is_odd, kept
from antiphon.brokers.postgres.odd import given as given_back

odd_texts = st.text(st.sampled_from("ab\0\x10"), max_size=6)


@given(st.tuples(odd_texts, odd_texts, st.none() | odd_texts))
def test_texts_that_no_column_takes_come_back_as_they_were(before: tuple[str, str, str | None]) -> None:
    stored = kept(before)
    assert given_back(stored) == before
    assert not any("\0" in (text or "") for text in stored)
    assert any_marked([stored[1]]) == is_odd(before)


def test_what_is_not_odd_is_kept_as_it_is() -> None:
    assert kept(("1", "OrderPlaced", "k\x10")) == ("1", "OrderPlaced", "k\x10")
    assert kept(("1", f"Order{MARK}", None)) != ("1", f"Order{MARK}", None)


def test_texts_travel_as_one_array() -> None:
    assert texts([]) == "{}"
    assert texts(["a", "", 'q"\\', "null", "{,}"]) == r'{"a","","q\"\\","null","{,}"}'
    assert texts_or_nulls(["a", None, 'q"\\']) == r'{"a",null,"q\"\\"}'
    assert texts_or_nulls(["a", "b"]) == '{"a","b"}'


def test_numbers_travel_as_one_array() -> None:
    assert (numbers([]), numbers([1, -2, 1 << 60])) == ("{}", "{1,-2,1152921504606846976}")
