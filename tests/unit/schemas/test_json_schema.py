"""Every declared event has a JSON Schema, and what is written fits it."""

from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from jsonschema import Draft202012Validator
from msgspec import Struct

from antiphon.events.declare import EventKind, Key, event
from antiphon.schemas.codec import codec_for
from tests.unit.schemas.test_codec import RICH, RICH_DATA, RICH_MODEL, Rich, RichData, RichModel


def validator(cls: type) -> Draft202012Validator:
    schema = codec_for(cls).json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


STRUCTS, DATACLASSES, MODELS = validator(Rich), validator(RichData), validator(RichModel)


@given(event=RICH)
def test_structs_fit_their_schema(event: Rich) -> None:
    STRUCTS.validate(msgspec.json.decode(codec_for(Rich).encode(event)))


@given(event=RICH_DATA)
def test_dataclasses_fit_their_schema(event: RichData) -> None:
    DATACLASSES.validate(msgspec.json.decode(codec_for(RichData).encode(event)))


@given(event=RICH_MODEL)
def test_pydantic_models_fit_their_schema(event: RichModel) -> None:
    MODELS.validate(msgspec.json.decode(codec_for(RichModel).encode(event)))


@pytest.mark.parametrize("schema", [STRUCTS, DATACLASSES, MODELS])
def test_schemas_refuse_what_the_codec_refuses(schema: Draft202012Validator) -> None:
    assert not schema.is_valid({})
    assert not schema.is_valid([])


def test_the_declaration_is_in_the_schema() -> None:
    @event(
        topic="orders",
        version=3,
        name="order.placed",
        kind=EventKind.STATE_TRANSFER,
        owner="team-orders",
        personal=["buyer_name"],
        examples=[{"orderId": "1", "buyerName": "Åsa"}],
    )
    class OrderPlaced(Struct, rename="camel"):
        """A customer placed an order."""

        order_id: Key[str]
        buyer_name: str = ""

    assert codec_for(OrderPlaced).json_schema() == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "order.placed",
        "description": "A customer placed an order.",
        "x-topic": "orders",
        "x-version": 3,
        "x-kind": "state_transfer",
        "x-key": "orderId",
        "x-owner": "team-orders",
        "x-personal": ["buyerName"],
        "examples": [{"orderId": "1", "buyerName": "Åsa"}],
        "type": "object",
        "properties": {"orderId": {"type": "string"}, "buyerName": {"type": "string", "default": ""}},
        "required": ["orderId"],
    }


def test_models_are_described_by_their_aliases() -> None:
    schema: Any = codec_for(RichModel).json_schema()
    assert (schema["x-key"], schema["x-personal"]) == ("orderId", ["buyerName"])
    assert {"orderId", "buyerName"} <= set(schema["properties"])
    assert schema["required"] == ["orderId", "total"]


class Node(Struct):
    """A place in a tree."""

    name: str
    children: list["Node"] = []


def test_types_that_contain_themselves_are_described_once() -> None:
    event(topic="t")(Node)
    schema: Any = codec_for(Node).json_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
    assert Draft202012Validator(schema).is_valid({"name": "a", "children": [{"name": "b"}]})
    assert not Draft202012Validator(schema).is_valid({"name": "a", "children": [{"nam": "b"}]})


def test_what_is_not_said_is_left_out() -> None:
    @event(topic="t")
    @dataclass
    class Bare:
        a: int

    schema = codec_for(Bare).json_schema()
    assert set(schema) == {"$schema", "title", "x-topic", "x-version", "x-kind", "type", "properties", "required"}


def test_asking_twice_gives_the_same_and_leaves_the_first_alone() -> None:
    codec = codec_for(RichModel)
    first = codec.json_schema()
    expected = msgspec.json.encode(first)
    first.clear()
    assert msgspec.json.encode(codec.json_schema()) == expected


class Leaf(pydantic.BaseModel):
    children: list["Leaf"] = []


def test_models_that_contain_themselves_are_described() -> None:
    event(topic="t")(Leaf)
    schema = codec_for(Leaf).json_schema()
    Draft202012Validator.check_schema(schema)
    assert not Draft202012Validator(schema).is_valid({"children": [{"children": 1}]})
