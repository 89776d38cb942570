"""The server's log is read byte by byte as its plugin writes it."""

from __future__ import annotations

from datetime import UTC, datetime
from struct import pack

import pytest

from antiphon.storage.wal_records import WalMessage, WalTransaction, transactions, written_place

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
MICROS = int((NEW_YEAR - datetime(2000, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000
BEGIN = b"B" + pack(">qqi", 90, MICROS, 7)


def message(place: int, prefix: str, content: bytes) -> bytes:
    return b"M" + pack(">bq", 1, place) + prefix.encode() + b"\0" + pack(">i", len(content)) + content


def commit(end: int) -> bytes:
    return b"C" + pack(">bqqq", 0, end - 8, end, MICROS)


def test_a_transaction_has_its_messages_its_end_and_its_moment() -> None:
    records = [BEGIN, message(10, "ours", b"a\0b"), message(20, "theirs", b""), commit(100)]
    found = [WalMessage(10, "ours", b"a\0b"), WalMessage(20, "theirs", b"")]
    assert list(transactions(records)) == [WalTransaction(100, NEW_YEAR, found)]


def test_messages_belong_to_the_transaction_that_they_are_in() -> None:
    records = [BEGIN, message(10, "ours", b"a"), commit(100), BEGIN, commit(200), BEGIN, message(30, "ours", b"b")]
    assert [(each.end, [m.content for m in each.messages]) for each in transactions(records)] == [
        (100, [b"a"]),
        (200, []),
    ]


def test_records_of_other_kinds_are_passed_over() -> None:
    records = [b"R\0\0", BEGIN, b"I\0\0", message(10, "ours", b"a"), b"Y", commit(100)]
    assert [len(each.messages) for each in transactions(records)] == [1]


@pytest.mark.parametrize(("place", "text"), [(0, "0/0"), (0x16B3748, "0/16B3748"), ((5 << 32) + 255, "5/FF")])
def test_a_place_is_written_as_the_server_writes_it(place: int, text: str) -> None:
    assert written_place(place) == text
