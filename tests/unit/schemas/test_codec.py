"""What is written can be read, by this version and by others, or is refused by name."""

import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, Literal
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from antiphon.errors import DeclarationError, DecodeError, EncodeError, NewerVersionError
from antiphon.events.clock import SystemClock
from antiphon.events.declare import Key, event
from antiphon.events.message import Message
from antiphon.runtime.compose import Composer
from antiphon.schemas.codec import codec_for

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Card(Struct, tag="card", frozen=True):
    last_four: str


class Voucher(Struct, tag="voucher", frozen=True):
    code: str
    worth: Decimal


class Line(Struct, frozen=True, rename="camel"):
    stock_code: str
    quantity: int
    note: str | None = None


@event(topic="orders", version=2)
class Rich(Struct, frozen=True):
    """An event with every kind of field."""

    order_id: Key[UUID]
    total: Decimal
    placed_at: datetime
    due: date
    at: time
    within: timedelta
    color: Color
    level: Level
    region: Literal["eu", "us"]
    lines: list[Line]
    paid_with: Card | Voucher
    weights: dict[str, float]
    stock: dict[int, str]
    tags: frozenset[str]
    photo: bytes
    pair: tuple[int, str]
    note: str | None = None
    is_gift: bool = False
    count: int = 0


@event(topic="orders", version=2)
@dataclass(frozen=True)
class RichData:
    order_id: Key[str]
    total: Decimal
    placed_at: datetime
    color: Color
    lines: list[Line]
    paid_with: Card | Voucher
    note: str | None = None
    tags: list[str] = field(default_factory=list)


class Item(pydantic.BaseModel):
    stock_code: str = pydantic.Field(alias="stockCode")
    quantity: int


@event(topic="orders", version=2, personal=["buyer_name"], examples=[{"orderId": "1", "total": "1", "buyerName": "Å"}])
class RichModel(pydantic.BaseModel):
    """Placed."""

    model_config = pydantic.ConfigDict(populate_by_name=True)
    order_id: Key[str] = pydantic.Field(alias="orderId")
    total: Decimal
    buyer_name: str = pydantic.Field(alias="buyerName", default="")
    placed_at: datetime | None = None
    color: Color = Color.RED
    items: list[Item] = []


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
TIMES = st.datetimes(timezones=st.just(UTC))
LINES = st.lists(st.builds(Line, stock_code=TEXT, quantity=st.integers(), note=st.none() | TEXT), max_size=3)
PAID = st.builds(Card, last_four=TEXT) | st.builds(Voucher, code=TEXT, worth=DECIMALS)
RICH = st.builds(
    Rich,
    order_id=st.uuids(),
    total=DECIMALS,
    placed_at=TIMES,
    due=st.dates(),
    at=st.times(),
    within=st.timedeltas(timedelta(-10_000), timedelta(10_000)),
    color=st.sampled_from(Color),
    level=st.sampled_from(Level),
    region=st.sampled_from(["eu", "us"]),
    lines=LINES,
    paid_with=PAID,
    weights=st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    stock=st.dictionaries(st.integers(), TEXT, max_size=3),
    tags=st.frozensets(TEXT, max_size=3),
    photo=st.binary(max_size=20),
    pair=st.tuples(st.integers(), TEXT),
    note=st.none() | TEXT,
    is_gift=st.booleans(),
    count=st.integers(-(2**70), 2**70),
)
RICH_DATA = st.builds(
    RichData,
    order_id=TEXT,
    total=DECIMALS,
    placed_at=TIMES,
    color=st.sampled_from(Color),
    lines=LINES,
    paid_with=PAID,
    note=st.none() | TEXT,
    tags=st.lists(TEXT, max_size=3),
)
RICH_MODEL = st.builds(
    RichModel,
    orderId=TEXT,
    total=DECIMALS,
    buyerName=TEXT,
    placed_at=st.none() | TIMES,
    color=st.sampled_from(Color),
    items=st.lists(st.builds(Item, stockCode=TEXT, quantity=st.integers(-(2**60), 2**60)), max_size=2),
)
EXAMPLE = Rich(
    order_id=UUID(int=7),
    total=Decimal("9.90"),
    placed_at=NOON,
    due=NOON.date(),
    at=time(12),
    within=timedelta(hours=1),
    color=Color.RED,
    level=Level.HIGH,
    region="eu",
    lines=[Line("A1", 2)],
    paid_with=Card("1234"),
    weights={"a": 1.5},
    stock={1: "a"},
    tags=frozenset({"x"}),
    photo=b"\x00",
    pair=(1, "a"),
)


def message(
    data: bytes | None, *, of: str = "Rich", version: int = 2, content_type: str | None = "application/json"
) -> Message:
    return Message("m-1", of, NOON, data, schema_version=version, content_type=content_type)


@given(event=RICH)
def test_structs_come_back_equal(event: Rich) -> None:
    codec = codec_for(Rich)
    assert codec.decode(codec.encode(event)) == event
    assert codec.read(message(codec.write(event))) == event


@given(event=RICH_DATA)
def test_dataclasses_come_back_equal(event: RichData) -> None:
    codec = codec_for(RichData)
    assert codec.decode(codec.encode(event)) == event


@given(event=RICH_MODEL)
def test_pydantic_models_come_back_equal(event: RichModel) -> None:
    codec = codec_for(RichModel)
    assert codec.decode(codec.encode(event)) == event


def test_decimals_keep_their_scale_whether_written_as_text_or_numbers() -> None:
    codec = codec_for(Rich)
    written = codec.encode(EXAMPLE)
    assert b'"total":"9.90"' in written
    found = codec.decode(written.replace(b'"total":"9.90"', b'"total":9.90'))
    assert str(found.total) == "9.90"


def test_fields_that_the_code_does_not_know_are_ignored_at_any_depth() -> None:
    codec = codec_for(Rich)
    newer = codec.encode(EXAMPLE).replace(b'{"stockCode"', b'{"added":{"x":[1]},"stockCode"')
    assert b'"added"' in newer
    assert codec.read(message(newer[:-1] + b',"another":null}')) == EXAMPLE


def test_a_missing_field_is_refused_with_both_versions() -> None:
    with pytest.raises(DecodeError) as refused:
        codec_for(Rich).read(message(b'{"order_id":"00000000-0000-0000-0000-000000000007"}', version=1))
    assert str(refused.value) == (
        "message m-1: 'Rich' version 1 cannot be read as the declared version 2: Object missing required field `total`"
    )
    assert (refused.value.found, refused.value.declared) == (1, 2)
    assert isinstance(refused.value.__cause__, msgspec.ValidationError)


def test_every_problem_of_a_model_is_named_in_one_line() -> None:
    with pytest.raises(DecodeError) as refused:
        codec_for(RichModel).read(message(b'{"total":"x","items":[{"quantity":1}]}', of="RichModel", version=1))
    assert refused.value.reason == (
        "Field required - at `$.orderId`; Input should be a valid decimal - at `$.total`; "
        "Field required - at `$.items[0].stockCode`"
    )


def test_an_event_newer_than_the_code_is_an_error_of_its_own_that_may_be_retried() -> None:
    with pytest.raises(NewerVersionError) as refused:
        codec_for(Rich).read(message(b"{}", version=3))
    assert (refused.value.found, refused.value.declared, refused.value.retryable) == (3, 2, True)


def test_a_newer_event_can_be_accepted() -> None:
    codec = codec_for(Rich)
    assert codec.read(message(codec.encode(EXAMPLE), version=3), accept_newer=True) == EXAMPLE


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "it has no data (a tombstone"),
        (b"", "Input data was truncated"),
        (b"garbage", "JSON is malformed"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"note":"\xff"}', "utf-8"),
        (b'{"x":' + b"[" * 100_000, "it is nested too deeply"),
    ],
)
def test_data_that_is_no_such_event_is_refused_with_the_reason(data: bytes | None, reason: str) -> None:
    with pytest.raises(DecodeError) as refused:
        codec_for(Rich).read(message(data))
    assert reason in refused.value.reason


def test_another_type_is_refused() -> None:
    with pytest.raises(DecodeError, match="its type is 'Other'"):
        codec_for(Rich).read(message(b"{}", of="Other"))


@pytest.mark.parametrize("content_type", ["application/avro", "text/plain", ""])
def test_data_that_is_not_json_is_refused_by_its_content_type(content_type: str) -> None:
    with pytest.raises(DecodeError, match=f"its content type is '{content_type}', expected application/json"):
        codec_for(Rich).read(message(b"{}", content_type=content_type))


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8", "application/vnd.shop+json"])
def test_json_under_other_names_is_read(content_type: str | None) -> None:
    codec = codec_for(Rich)
    assert codec.read(message(codec.encode(EXAMPLE), content_type=content_type)) == EXAMPLE


def test_what_a_class_checks_itself_is_a_reason_too() -> None:
    @event(topic="t")
    class Checked(Struct):
        a: int

        def __post_init__(self) -> None:
            if self.a < 0:
                raise KeyError("a is negative")

    with pytest.raises(DecodeError, match="a is negative"):
        codec_for(Checked).read(message(b'{"a":-1}', of="Checked", version=1))


def test_a_field_that_cannot_be_written_is_refused_with_the_events_name() -> None:
    @event(topic="t")
    class Loose(Struct):
        a: Any

    with pytest.raises(EncodeError, match="'Loose' cannot be written as application/json"):
        codec_for(Loose).write(Loose(object()))
    with pytest.raises(EncodeError, match="'Loose' cannot be written as application/json"):
        codec_for(Loose).write(Loose("\ud800"))


def test_a_codec_alone_writes_null_for_a_number_that_json_has_no_word_for_and_whoever_publishes_refuses_it() -> None:
    @event(topic="t")
    class Measured(Struct):
        value: float

    assert codec_for(Measured).write(Measured(float("nan"))) == b'{"value":null}'
    with pytest.raises(EncodeError, match="its field value is nan"):
        Composer("tests", SystemClock()).first(Measured(float("nan")))


def test_a_class_that_is_not_declared_has_no_codec() -> None:
    with pytest.raises(DeclarationError, match=r"event Line in .*: it is not declared as an event"):
        codec_for(Line)


@event(topic="t")
class Forward(Struct):
    a: "Missing"  # type: ignore[name-defined]  # noqa: F821


@event(topic="t")
@dataclass
class ForwardData:
    a: "Missing"  # type: ignore[name-defined]  # noqa: F821


@event(topic="t")
class ForwardModel(pydantic.BaseModel):
    a: "Missing"  # type: ignore[name-defined]  # noqa: F821


@event(topic="t")
class Later(Struct):
    a: "Defined"


class Defined(Struct):
    b: int


@pytest.mark.parametrize("cls", [Forward, ForwardData, ForwardModel])
def test_a_type_that_is_never_defined_is_refused_when_the_codec_is_made(cls: type) -> None:
    with pytest.raises(DeclarationError) as refused:
        codec_for(cls)
    said = str(refused.value)
    assert said.startswith(f"event {cls.__name__} in {__name__}: a field's type cannot be resolved (name 'Missing'")
    assert "at the top of that module" in said


def test_a_type_that_is_defined_later_is_found() -> None:
    assert codec_for(Later).decode(b'{"a":{"b":1}}') == Later(Defined(1))


@event(topic="t")
class LaterCustom(Struct):
    a: "Custom"


class Custom:
    pass


def test_a_type_that_is_defined_later_and_cannot_be_written_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"LaterCustom\.a is of type Custom, which the serializer cannot write"):
        codec_for(LaterCustom)


def test_examples_that_do_not_fit_are_refused() -> None:
    @event(topic="t", examples=[{"a": 1}, {"a": "x"}])
    class Shown(Struct):
        a: int

    with pytest.raises(DeclarationError, match=r"its example 2 does not fit its fields \(Expected `int`, got `str`"):
        codec_for(Shown)


def test_models_that_could_not_read_what_they_write_are_refused() -> None:
    @event(topic="t")
    class Crossed(pydantic.BaseModel):
        a: int = pydantic.Field(validation_alias="in", serialization_alias="out")

    with pytest.raises(DeclarationError, match="Crossed reads 'in' but does not write it"):
        codec_for(Crossed)


def test_models_that_forbid_unknown_fields_inside_are_refused() -> None:
    class Inner(pydantic.BaseModel, extra="forbid"):
        a: int

    @event(topic="t")
    class Outer(pydantic.BaseModel):
        inner: list[Inner]

    with pytest.raises(DeclarationError, match="Inner forbids unknown fields"):
        codec_for(Outer)


def test_pydantic_dataclasses_are_read_and_written_with_their_checks() -> None:
    @event(topic="t")
    @pydantic.dataclasses.dataclass
    class Checked:
        order_id: Key[str]
        count: pydantic.PositiveInt

    codec = codec_for(Checked)
    assert codec.decode(codec.encode(Checked("1", 2))) == Checked("1", 2)
    assert codec.declaration.key_field == "order_id"
    with pytest.raises(DecodeError, match="greater than 0"):
        codec.read(message(b'{"order_id":"1","count":-2}', of="Checked", version=1))


def test_models_without_pydantic_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "antiphon.schemas.pydantic", raising=False)
    monkeypatch.delattr("antiphon.schemas.pydantic", raising=False)
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(DeclarationError, match=r"pip install 'antiphon\[pydantic\]'"):
        codec_for(RichModel)
