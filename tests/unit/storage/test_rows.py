"""Rows become what the caller asked for, or an error that says why they cannot."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, TypedDict
from uuid import UUID

import pytest
from msgspec import Struct

from antiphon.errors import SchemaError
from antiphon.storage.rows import convert_rows

COLUMNS = ["id", "total", "paid", "at"]
ROWS = [(7, "12.50", 1, "2026-03-01T12:00:00+00:00")]
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


class State(StrEnum):
    NEW = "new"


class OrderStruct(Struct):
    at: datetime
    id: int
    total: Decimal
    paid: bool


@dataclass
class OrderClass:
    id: int
    total: Decimal
    paid: bool
    at: datetime


class OrderDict(TypedDict):
    id: int
    total: Decimal
    paid: bool
    at: datetime


class OrderTuple(NamedTuple):
    number: int
    pounds: Decimal
    is_paid: bool
    moment: datetime


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (OrderStruct, OrderStruct(AT, 7, Decimal("12.50"), True)),
        (OrderClass, OrderClass(7, Decimal("12.50"), True, AT)),
        (OrderDict, {"id": 7, "total": Decimal("12.50"), "paid": True, "at": AT}),
        (OrderTuple, OrderTuple(7, Decimal("12.50"), True, AT)),
        (tuple[int, Decimal, bool, datetime], (7, Decimal("12.50"), True, AT)),
    ],
)
def test_rows_fit_named_fields_by_name_and_tuples_by_place(row, expected):
    assert convert_rows(ROWS, COLUMNS, row) == [expected]


@pytest.mark.parametrize(
    ("value", "row", "expected"),
    [
        (3, int, 3),
        ("x", str, "x"),
        (b"\xff", bytes, b"\xff"),
        (0, bool, False),
        ("new", State, State.NEW),
        ("0190b6a0-0000-7000-8000-000000000000", UUID, UUID("0190b6a0-0000-7000-8000-000000000000")),
    ],
)
def test_a_single_column_becomes_the_value_itself(value, row, expected):
    assert convert_rows([(value,)], ["only"], row) == [expected]


def test_no_rows_are_no_values():
    assert convert_rows([], COLUMNS, OrderStruct) == []


@pytest.mark.parametrize(
    ("rows", "columns", "row", "complaint"),
    [
        ([("x",)], ["id"], int, r"a row of \(id\) does not fit int: .*int"),
        ([(1, 2)], ["a", "b"], int, r"the columns \(a, b\) do not fit int: it takes one column"),
        ([(1,)], ["id"], OrderStruct, r"a row of \(id\) does not fit OrderStruct: .*`at`"),
        ([(1, 2)], ["a", "b"], OrderTuple, r"does not fit OrderTuple"),
    ],
)
def test_a_row_that_does_not_fit_is_told(rows, columns, row, complaint):
    with pytest.raises(SchemaError, match=complaint):
        convert_rows(rows, columns, row)
