"""Is a message the same after it was a row?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from antiphon.brokers.envelope import microseconds, moment, objection, pack_rest, unpack
from antiphon.events.message import Message, Outgoing

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
moments = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)).map(  # noqa: DTZ001
    lambda at: at.replace(tzinfo=UTC)
)
messages = st.builds(
    Message,
    id=texts,
    type=texts,
    time=moments,
    data=st.none() | st.binary(max_size=50),
    key=st.none() | texts,
    source=texts,
    schema_version=st.integers(0, 2**40),
    content_type=st.none() | texts,
    correlation_id=st.none() | texts,
    causation_id=st.none() | texts,
    traceparent=st.none() | texts,
    tracestate=st.none() | texts,
    deadline=st.none() | moments,
    tenant=st.none() | texts,
    extensions=st.dictionaries(texts, texts | st.integers(-(2**31), 2**31 - 1) | st.booleans(), max_size=3),
)


@given(st.lists(messages, max_size=5))
def test_every_message_comes_back_as_it_was(sent: list[Message]) -> None:
    rows = [(message.id, message.type, message.key, message.data, pack_rest(message)) for message in sent]
    arrived = unpack(rows)
    assert arrived == sent
    for message, again in zip(sent, arrived, strict=True):
        assert [type(value) for value in again.extensions.values()] == [
            type(value) for value in message.extensions.values()
        ]


def test_a_time_elsewhere_is_the_same_time_in_utc() -> None:
    noon_in_vienna = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=1)))
    message = Message("1", "T", noon_in_vienna, b"")
    (again,) = unpack([("1", "T", None, b"", pack_rest(message))])
    assert (again.time, again.time.tzinfo) == (datetime(2026, 1, 1, 11, tzinfo=UTC), UTC)


def test_moments_are_kept_to_the_microsecond() -> None:
    for at in (datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), datetime(2261, 1, 1, 1, 1, 1, 123457, UTC)):
        assert moment(microseconds(at)) == at


def test_a_moment_elsewhere_is_the_same_moment() -> None:
    noon_in_vienna = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=1)))
    assert moment(microseconds(noon_in_vienna)) == datetime(2026, 1, 1, 11, tzinfo=UTC)


def test_what_cannot_be_kept_is_said_before_anything_is_written() -> None:
    good = Message("1", "T", datetime.now(UTC), b"12345")
    naive = Message("1", "T", datetime.now(UTC), b"", deadline=datetime(2026, 1, 1))  # noqa: DTZ001
    huge = Message("1", "T", datetime.now(UTC), b"", schema_version=2**70)
    assert objection(Outgoing("t", good), 5) is None
    assert "5 bytes" in str(objection(Outgoing("t", good), 4))
    assert "time zone" in str(objection(Outgoing("t", naive), 5))
    assert "serialize" in str(objection(Outgoing("t", huge), 5))
