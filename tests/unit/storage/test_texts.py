"""Texts of messages that any store can keep and index."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.storage.texts import LONGEST, kept


@given(st.text(max_size=LONGEST // 4))
def test_what_is_short_stays_itself(text):
    text = text.replace("\0", "")
    assert kept(text) == text


@given(st.text(max_size=3 * LONGEST))
def test_what_is_kept_is_short_and_has_no_zero_character(text):
    found = kept(text)
    assert len(found.encode("utf-8", "surrogatepass")) <= LONGEST
    assert "\0" not in found
    assert kept(found) == found == kept(text)


def test_as_many_bytes_as_fit_are_kept_and_one_more_is_not():
    assert kept("ö" * (LONGEST // 2)) == "ö" * (LONGEST // 2)
    assert kept("ö" * (LONGEST // 2) + "o").startswith("sha256:")


def test_texts_that_differ_after_a_zero_character_or_far_behind_are_two():
    assert kept("a\0b") != kept("a\0c")
    assert kept("a" * LONGEST + "b") != kept("a" * LONGEST + "c")
