"""Names of topics and groups become names on the server that never meet."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.brokers.nats.names import stream_of, subjects_of, token

ANY = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12) | st.text("a.*> $_=-", min_size=1, max_size=6)
PLAIN = set(string.ascii_letters + string.digits + "_-=")


@given(ANY, ANY)
def test_two_names_never_meet(one: str, other: str) -> None:
    if one != other:
        assert token(one) != token(other)
        assert not set(subjects_of(one, 3)) & set(subjects_of(other, 3))
    assert stream_of(one) not in {stream_of(other, "shop"), stream_of(one, "shop")}


@given(ANY)
def test_a_name_is_one_token_and_its_subjects_are_none_of_the_servers_own(name: str) -> None:
    assert set(token(name)) <= PLAIN
    for subject in subjects_of(name, 2):
        assert not subject.startswith(("$", "_"))
        assert all(part and set(part) <= PLAIN for part in subject.split("."))


@pytest.mark.parametrize(
    ("topic", "subject", "stream"),
    [
        ("orders", "orders.0", "orders"),
        ("shop.orders", "shop.orders.0", "shop=2Eorders"),
        ("a b", "a=20b.0", "a=20b"),
        ("_INBOX.x", "=5FINBOX=2Ex.0", "_INBOX=2Ex"),
        (".", "=2E.0", "=2E"),
    ],
)
def test_plain_names_stay_as_they_are(topic: str, subject: str, stream: str) -> None:
    assert (subjects_of(topic, 1), stream_of(topic)) == ([subject], stream)
    assert subjects_of(topic, 1, "test") == [f"test.{subject}"]
