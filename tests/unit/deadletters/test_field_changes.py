"""Single fields are changed, and everything else in the data stays as it was, to the last digit."""

from dataclasses import dataclass
from decimal import Decimal

import pytest
from msgspec import Struct
from pydantic import BaseModel

from antiphon.deadletters.field_changes import FieldChange, with_changes
from antiphon.errors import DeadLetterError
from antiphon.events.declare import Key, event
from antiphon.schemas.codec import codec_for


class Line(Struct, frozen=True, rename="camel"):
    sku: str
    unit_price: Decimal = Decimal(0)


@event(topic="orders")
class OrderPlaced(Struct, frozen=True, rename="camel", omit_defaults=True):
    order_id: Key[str]
    pieces: int = 1
    is_gift: bool = False
    lines: list[Line] = []
    labels: dict[str, str] = {}


@event(topic="orders", name="OrderPlaced")
class PydanticOrder(BaseModel):
    order_id: Key[str]
    pieces: int = 1


@event(topic="orders", name="OrderPlaced")
@dataclass
class DataclassOrder:
    order_id: Key[str]
    pieces: int = 1


DATA = b'{"orderId":"o-1","pieces":2,"odd":1.50,"lines":[{"sku":"tea","unitPrice":"1.0"},{"sku":"cup"}]}'


def text(path, value):
    return FieldChange(tuple(path.split(".")), value, is_text=True)


def json(path, value):
    return FieldChange(tuple(path.split(".")), value)


def changed(*changes, data=DATA, cls=OrderPlaced):
    return with_changes(data, changes, None if cls is None else codec_for(cls))


def test_a_text_becomes_the_type_of_its_field():
    assert b'"pieces":7' in changed(text("pieces", "7"))
    assert b'"isGift":true' in changed(text("isGift", "true"))
    assert b'"orderId":"7"' in changed(text("orderId", "7"))


def test_a_value_that_is_the_default_is_set_with_its_type_too():
    assert b'"pieces":1,' in changed(text("pieces", "1"))


def test_what_is_not_changed_keeps_every_digit_even_where_the_handler_does_not_read_it():
    assert changed(text("pieces", "7")) == DATA.replace(b'"pieces":2', b'"pieces":7')


def test_fields_inside_of_lists_objects_and_mappings_are_reached():
    assert b'{"sku":"tea","unitPrice":"2.50"}' in changed(text("lines.0.unitPrice", "2.50"))
    assert b'{"sku":"cup","unitPrice":"3"}' in changed(text("lines.1.unitPrice", "3"))
    assert b'"labels":{"urgent":"7"}' in changed(text("labels.urgent", "7"))


def test_json_is_taken_as_it_is():
    assert b'"lines":[{"sku":"pot"}]' in changed(json("lines", [{"sku": "pot"}]))
    assert b'"pieces":3' in changed(json("pieces", 3))


@pytest.mark.parametrize("cls", [PydanticOrder, DataclassOrder])
def test_every_form_of_event_is_understood(cls):
    assert changed(text("pieces", "7"), data=b'{"order_id":"o"}', cls=cls) == b'{"order_id":"o","pieces":7}'


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (text("peices", "7"), "peices: OrderPlaced has no 'peices' there; what is read has orderId, pieces"),
        (text("order_id", "7"), "no 'order_id' there"),
        (text("lines.0.price", "7"), "lines.0.price: .* what is read has sku, unitPrice"),
        (text("lines.2.sku", "7"), "'2' is no place in a list of 2"),
        (text("lines.last.sku", "7"), "'last' is no place in a list"),
        (text("pieces", "seven"), "OrderPlaced does not take that: .*pieces"),
        (text("orderId.first", "7"), r"orderId.first: there is no 'first' in '\"o-1\"'"),
        (json("oddity", 1), "no 'oddity' there"),
    ],
)
def test_what_is_not_there_or_does_not_fit_is_named(change, told):
    with pytest.raises(DeadLetterError, match=told):
        changed(change)


def test_data_that_is_no_object_has_no_fields():
    with pytest.raises(DeadLetterError, match=r"there is no 'pieces' in '\{broken'"):
        changed(text("pieces", "7"), data=b"{broken")


def test_without_a_declaration_texts_stay_texts():
    assert changed(text("anything.at.all", "7"), data=b'{"a":1}', cls=None) == b'{"a":1,"anything":{"at":{"all":"7"}}}'
