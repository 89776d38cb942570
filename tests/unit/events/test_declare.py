"""A declaration says what an event is; every misuse is refused with what, where and how to mend it."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pydantic.v1
import pytest
from msgspec import Meta, Struct

from antiphon.errors import DeclarationError, EncodeError
from antiphon.events.declare import Declaration, EventKind, Key, declaration_of, event

T = TypeVar("T")
OrderId = NewType("OrderId", str)


class Place(StrEnum):
    SHOP = "shop"


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class OrderPlaced(Struct, frozen=True):
    """A customer placed an order.

    It is not paid yet.
    """

    order_id: Key[str]
    total: Decimal


@dataclasses.dataclass(frozen=True)
class OrderPaid:
    order_id: Key[str]
    total: Decimal


class OrderShipped(pydantic.BaseModel):
    order_id: Key[str]
    total: Decimal


def declared(cls: type[T], **options: Any) -> Declaration:  # every option of event
    return declaration_of(event(**{"topic": "orders"} | options)(cls))


def refusal(cls: type, **options: Any) -> str:  # every option of event
    with pytest.raises(DeclarationError) as refused:
        declared(cls, **options)
    return str(refused.value)


@pytest.mark.parametrize("cls", [OrderPlaced, OrderPaid, OrderShipped])
def test_structs_dataclasses_and_pydantic_models_are_declared_alike(cls: type) -> None:
    found = declared(cls)
    assert (found.cls, found.name, found.topic, found.version) == (cls, cls.__name__, "orders", 1)
    assert (found.kind, found.key_field, found.owner, found.personal) == (EventKind.DOMAIN, "order_id", None, ())
    assert found.key_of(cls(order_id="7", total=Decimal(1))) == "7"


def test_the_class_itself_is_returned_unchanged() -> None:
    assert event(topic="orders")(OrderPlaced) is OrderPlaced
    assert event("orders")(OrderPlaced)(order_id="1", total=Decimal(1)).total == 1


def test_everything_that_is_said_is_kept() -> None:
    found = declared(
        OrderPlaced,
        topic="shop.orders-v2",
        version=3,
        name="com.shop/order:placed.v3",
        kind=EventKind.STATE_TRANSFER,
        owner="team-orders",
        description="Placed.",
        personal=["total"],
        examples=[{"order_id": "1", "total": "9.99"}],
    )
    assert found == Declaration(
        cls=OrderPlaced,
        name="com.shop/order:placed.v3",
        topic="shop.orders-v2",
        version=3,
        kind=EventKind.STATE_TRANSFER,
        key_field="order_id",
        owner="team-orders",
        description="Placed.",
        personal=("total",),
        examples=({"order_id": "1", "total": "9.99"},),
    )


def test_the_docstring_is_the_meaning_unless_another_is_given() -> None:
    assert declared(OrderPlaced).description == "A customer placed an order.\n\nIt is not paid yet."
    assert declared(OrderPaid).description is None
    assert declared(OrderShipped).description is None


def test_the_kind_may_be_written_as_its_value() -> None:
    assert declared(OrderPlaced, kind="notification").kind is EventKind.NOTIFICATION


def test_a_subclass_inherits_no_declaration() -> None:
    event(topic="orders")(OrderPlaced)

    class Express(OrderPlaced, frozen=True):
        pass

    with pytest.raises(DeclarationError) as refused:
        declaration_of(Express)
    assert "its parent OrderPlaced is, but declarations are not inherited" in str(refused.value)
    assert 'put @event(topic="orders") above this class, too' in str(refused.value)
    assert declared(Express, topic="express").key_field == "order_id"
    assert declaration_of(OrderPlaced).topic == "orders"


def test_one_name_and_version_may_be_declared_many_times() -> None:
    class Other(Struct):
        order_id: str

    assert declared(Other, name="OrderPlaced").name == declared(OrderPlaced).name


def test_an_event_without_a_key_has_none() -> None:
    class Ping(Struct):
        note: str

    assert declared(Ping).key_of(Ping("x")) is None


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (str, "å", "å"),
        (int, 7, "7"),
        (UUID, UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Place, Place.SHOP, "shop"),
        (Color, Color.RED, "red"),
        (Level, Level.HIGH, "3"),
        (OrderId, "o-1", "o-1"),
        (Annotated[str, Meta(min_length=1)], "a", "a"),
        (Literal["eu", "us"], "eu", "eu"),
        (int | str, 3, "3"),
    ],
)
def test_keys_are_text_of_a_str_an_int_a_uuid_or_an_enum(kind: Any, value: object, text: str) -> None:
    cls = msgspec.defstruct("Keyed", [("key", Key[kind])])
    assert declared(cls).key_of(cls(value)) == text


def test_a_key_that_is_none_all_the_same_is_refused_when_published() -> None:
    unchecked: Any = None
    with pytest.raises(EncodeError, match="'OrderPlaced': its key order_id is None"):
        declared(OrderPlaced).key_of(OrderPlaced(unchecked, Decimal(1)))


def test_keys_are_found_under_postponed_annotations_and_with_names_of_their_own() -> None:
    script = """
from __future__ import annotations
from dataclasses import dataclass
import antiphon.events.declare as a
import msgspec, pydantic
class S(msgspec.Struct, rename="camel"):
    order_id: a.Key[str]
    later: list[Later]
@dataclass
class D:
    order_id: a.Key[int]
    later: Later | None = None
class P(pydantic.BaseModel):
    order_id: a.Key[str] = pydantic.Field(alias="orderId")
    later: Later | None = None
for cls in (S, D, P):
    print(a.declaration_of(a.event(topic="t")(cls)).key_field)
"""
    found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["order_id"] * 3


@pytest.mark.parametrize("topic", ["a", "orders", "Shop.Orders_v2-x", "0", "x" * 249])
def test_topics_may_have_letters_digits_dots_dashes_and_underscores(topic: str) -> None:
    assert declared(OrderPlaced, topic=topic).topic == topic


@pytest.mark.parametrize("topic", [".", "..", "-a", "_a", "a b", "a/b", "å", "a\n", "x" * 250, "a*"])
def test_topics_that_some_broker_refuses_are_refused(topic: str) -> None:
    assert f"its topic {topic!r} cannot be used on every broker" in refusal(OrderPlaced, topic=topic)


@pytest.mark.parametrize("version", [0, -1, 2**31, "1", 1.0, True, None])
def test_versions_that_are_no_whole_numbers_from_one_are_refused(version: object) -> None:
    assert f"its version is {version!r}: versions are whole numbers, counted from 1" in refusal(
        OrderPlaced, version=version
    )


@pytest.mark.parametrize("name", ["", "a b", "-a", ".a", "x" * 256, "a\n"])
def test_names_that_cannot_travel_are_refused(name: str) -> None:
    assert f"its name {name!r} cannot be used on the wire" in refusal(OrderPlaced, name=name)


def test_a_missing_topic_is_refused_with_one_to_write() -> None:
    where = f"event OrderPlaced in {__name__}: "
    assert refusal(OrderPlaced, topic="") == f'{where}it has no topic: write @event(topic="orders")'
    bare: Any = OrderPlaced
    with pytest.raises(DeclarationError) as refused:
        event(bare)
    assert str(refused.value) == f'{where}@event stands there without a topic: write @event(topic="orders")'


def test_an_unknown_kind_is_refused_with_those_that_exist() -> None:
    assert "its kind is 'command': use one of EventKind.NOTIFICATION" in refusal(OrderPlaced, kind="command")


def test_two_keys_are_refused() -> None:
    class Twice(Struct):
        a: Key[str]
        b: Key[str]

    assert "the fields a and b are both marked as Key: an event has one key; keep one mark" in refusal(Twice)


@pytest.mark.parametrize(
    "kind",
    [Key[str | None], Key[str] | None, Optional[Key[str]], Key[str | msgspec.UnsetType], Key[Optional[int]]],  # noqa: UP045
)
def test_a_key_that_may_be_missing_is_refused(kind: Any) -> None:
    assert "order_id: Key[str]" in refusal(msgspec.defstruct("Optionally", [("order_id", kind)]))


@pytest.mark.parametrize("kind", [float, bool, bytes, datetime, list[str], dict[str, int], Any, OrderPlaced])
def test_a_key_of_a_type_without_one_text_is_refused(kind: Any) -> None:
    said = refusal(msgspec.defstruct("Odd", [("key", Key[kind])]))
    assert "key key is of type" in said
    assert "a key is a str, an int, a UUID or an enum" in said


def test_a_key_inside_another_type_is_refused() -> None:
    assert "Key is inside the type of items" in refusal(msgspec.defstruct("Inside", [("items", list[Key[str]])]))


def test_a_class_variable_is_no_key() -> None:
    @dataclasses.dataclass
    class Shared:
        key: ClassVar[Key[str]] = "x"
        note: str = ""

    assert declared(Shared).key_field is None


class Plain:
    order_id: str


class Tupled(NamedTuple):
    order_id: str


class Typed(TypedDict):
    order_id: str


class OldModel(pydantic.v1.BaseModel):
    order_id: str


class SubclassOfDataclass(OrderPaid):
    pass


@pytest.mark.parametrize("cls", [Plain, Tupled, Typed, int, Color, SubclassOfDataclass])
def test_other_classes_are_refused(cls: type) -> None:
    said = refusal(cls)
    assert f"event {cls.__name__} in {cls.__module__}: it is no msgspec Struct, dataclass or Pydantic model" in said
    assert f"write class {cls.__name__}(Struct, frozen=True), or put @dataclass below @event" in said


def test_models_of_pydantic_1_are_refused() -> None:
    assert "it is a model of Pydantic 1: derive it from pydantic.BaseModel of Pydantic 2" in refusal(OldModel)


def test_functions_and_values_are_refused() -> None:
    for misused in (lambda: None, OrderPlaced("1", Decimal(1)), 7):
        unchecked: Any = misused
        with pytest.raises(DeclarationError, match="no class"):
            event(topic="orders")(unchecked)
        with pytest.raises(DeclarationError, match="no class"):
            declaration_of(unchecked)


def test_a_class_that_is_not_declared_is_refused_with_what_to_write() -> None:
    with pytest.raises(DeclarationError) as refused:
        declaration_of(Plain)
    assert str(refused.value) == (
        f'event Plain in {__name__}: it is not declared as an event: put @event(topic="plains") above the class'
    )


class Custom:
    pass


class Inner(Struct):
    what: Custom


class Node(Struct):
    children: list["Node"]
    name: str = ""


class Strict(Struct, forbid_unknown_fields=True):
    a: int


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (Custom, "Odd.field"),
        (Callable[[], int], "Odd.field"),
        (complex, "Odd.field"),
        (object, "Odd.field"),
        (list[Custom], "Odd.field[]"),
        (dict[str, tuple[Custom, ...]], "Odd.field[][]"),
        (Custom | None, "Odd.field"),
        (Inner, "Odd.field.what"),
        (list[Inner | None], "Odd.field[].what"),
        (msgspec.msgpack.Ext, "Odd.field"),
        (Annotated[tuple[int, Custom], Meta(description="x")], "Odd.field"),
    ],
)
def test_fields_that_the_serializer_cannot_write_are_refused_at_any_depth(kind: Any, path: str) -> None:
    assert f"{path} is of type" in refusal(msgspec.defstruct("Odd", [("field", kind)]))


@pytest.mark.parametrize("key", [tuple[int, int], Inner, bool, tuple[int, ...]])
def test_maps_whose_keys_cannot_be_json_names_are_refused(key: Any) -> None:
    assert "the keys of Odd.field cannot be names in JSON" in refusal(
        msgspec.defstruct("Odd", [("field", dict[key, int])])
    )


def test_unions_that_cannot_be_told_apart_are_refused() -> None:
    assert "the serializer refuses it (" in refusal(msgspec.defstruct("Odd", [("field", OrderPlaced | Inner)]))


def test_types_that_contain_themselves_are_accepted() -> None:
    assert declared(Node).name == "Node"


def test_events_that_forbid_unknown_fields_are_refused_at_any_depth() -> None:
    class StrictModel(pydantic.BaseModel, extra="forbid"):
        a: int

    assert "Strict forbids unknown fields, so it could not read what a newer version adds" in refusal(Strict)
    assert "Holder.inner[] forbids unknown fields" in refusal(msgspec.defstruct("Holder", [("inner", list[Strict])]))
    assert 'take extra="forbid" out of its model_config' in refusal(StrictModel)


def test_personal_fields_that_do_not_exist_are_refused_with_the_nearest() -> None:
    assert "personal names 'totl', which is no field of it: write 'total'; it has order_id, total" in refusal(
        OrderPlaced, personal=["totl"]
    )
    assert declared(OrderPlaced, personal="total").personal == ("total",)


def test_a_key_whose_type_is_not_defined_yet_is_refused() -> None:
    class Early(Struct):
        order_id: "Key[Undefined]"  # type: ignore[name-defined]  # noqa: F821

    assert "the type of key order_id (Key[Undefined]) is not defined yet" in refusal(Early)


def test_generic_events_can_be_declared_once_they_are_made_concrete() -> None:
    class Page(Struct, Generic[T]):
        items: list[T]

    class Names(Page[str]):
        pass

    assert declared(Names).name == "Names"


def test_declaring_events_imports_no_pydantic() -> None:
    script = """
import sys
from antiphon.events import Key, event
import antiphon.schemas, dataclasses
@event(topic="t")
@dataclasses.dataclass
class A:
    a: Key[str]
antiphon.schemas.codec_for(A)
print("pydantic" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "False"
