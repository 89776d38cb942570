"""Numbers that JSON has no word for are refused, wherever in an event they are, and nothing else is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pydantic
import pytest

from antiphon import Struct, event
from antiphon.errors import EncodeError
from antiphon.events.clock import SystemClock
from antiphon.events.finite import may_lose_numbers
from antiphon.runtime.compose import Composer


class Line(Struct):
    price: float | None = None
    next: Line | None = None


@dataclass
class Place:
    east: float


@event(topic="t")
class Ordered(Struct):
    total: float = 0.0
    lines: tuple[Line, ...] = ()
    rates: dict[str, Annotated[float, msgspec.Meta(ge=0)]] = msgspec.field(default_factory=dict)
    place: Place | None = None
    note: Any = None
    raw: msgspec.Raw = msgspec.Raw(b"null")
    by_rate: dict[float, str] = msgspec.field(default_factory=dict)


@event(topic="t")
@dataclass
class Weighed:
    grams: float


@event(topic="t")
class Modeled(pydantic.BaseModel):
    grams: float = 0.0
    parts: list[float] = []
    secret: float = pydantic.Field(default=math.nan, exclude=True)
    nothing: None = None


@event(topic="t")
class Spelled(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_inf_nan="strings")
    grams: float = math.nan
    nothing: None = None


@event(topic="t")
class Tree(Struct):
    name: str
    below: tuple[Tree, ...] = ()


@event(topic="t")
class Counted(Struct):
    n: int
    word: str | None = None


def data_of(event):
    return Composer("shop", SystemClock()).first(event).message.data


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("made", "path"),
    [
        (lambda number: Ordered(total=number), "total"),
        (lambda number: Ordered(lines=(Line(), Line(1.0, Line(number)))), r"lines\[1\]\.next\.price"),
        (lambda number: Ordered(rates={"vat": number}), r"rates\['vat'\]"),
        (lambda number: Ordered(place=Place(number)), r"place\.east"),
        (lambda number: Ordered(note=[{"a": number}]), r"note\[0\]\['a'\]"),
        (lambda number: Ordered(by_rate={number: "a"}), r"by_rate \(key\)"),
        (Weighed, "grams"),
        (lambda number: Modeled(grams=number), "grams"),
        (lambda number: Modeled(parts=[1.0, number]), r"parts\[1\]"),
    ],
)
def test_a_number_without_a_word_in_json_is_refused_with_the_name_of_its_event_and_field(made, path, number):
    event = made(number)
    with pytest.raises(
        EncodeError, match=rf"'{type(event).__name__}' cannot be written: its field {path} is {number},"
    ):
        data_of(event)


def test_what_is_finite_or_none_or_called_null_is_written():
    made = Ordered(1.5, (Line(), Line(2.0)), {"a": 1e308}, Place(0.0), "null")
    assert b'"price":2.0' in data_of(made)
    assert data_of(Weighed(2.0)) == b'{"grams":2.0}'


def test_what_a_model_leaves_out_or_spells_in_its_own_way_is_its_own_affair():
    assert b"secret" not in data_of(Modeled())
    assert b'"NaN"' in data_of(Spelled())


def test_what_can_hold_no_such_number_is_not_looked_at():
    assert not may_lose_numbers(Counted)
    assert not may_lose_numbers(Tree)
    assert not may_lose_numbers(Spelled)
    assert may_lose_numbers(Ordered)
    assert may_lose_numbers(Weighed)
