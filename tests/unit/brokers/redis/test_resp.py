"""Replies are read whole however they are cut, and requests are written as the protocol wants them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.brokers.redis.resp import NOTHING, ReplyReader, pack


def written(reply):
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(map(written, reply))


replies = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=20), lambda inner: st.lists(inner, max_size=5)
)


@given(st.lists(replies, min_size=1, max_size=5), st.lists(st.integers(1, 12), min_size=1))
def test_replies_are_read_whole_however_they_are_cut(expected, steps):
    text, reader, found, at, turn = b"".join(map(written, expected)), ReplyReader(ValueError), [], 0, 0
    while len(found) < len(expected):
        while (reply := reader.take()) is not NOTHING:
            found.append(reply)
        assert reader.missing >= 0
        step = steps[turn % len(steps)]
        reader.feed(text[at : at + step])
        at, turn = at + step, turn + 1
    assert found == expected
    assert reader.is_empty


def test_a_long_string_tells_how_much_is_missing():
    reader = ReplyReader(ValueError)
    reader.feed(b"$100\r\n" + b"x" * 10)
    assert reader.take() is NOTHING
    assert reader.missing == 92
    assert not reader.is_empty


def test_errors_stand_where_they_came():
    reader = ReplyReader(ValueError)
    reader.feed(b"*2\r\n+OK\r\n-ERR no\r\n*0\r\n*-1\r\n")
    first, error = reader.take()
    assert (first, str(error)) == (b"OK", "ERR no")
    assert reader.take() == []
    assert reader.take() is None


def test_what_is_no_reply_is_refused():
    reader = ReplyReader(ValueError)
    reader.feed(b"HTTP/1.1 400\r\n")
    with pytest.raises(ValueError, match="'H'"):
        reader.take()


def test_a_command_is_written_with_its_lengths_in_bytes():
    assert pack(("SET", "ä", 7, b"\x00")) == b"*4\r\n$3\r\nSET\r\n$2\r\n\xc3\xa4\r\n$1\r\n7\r\n$1\r\n\x00\r\n"
