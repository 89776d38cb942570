"""What the signature of a handler may say, and what each mistake is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Annotated, Optional

import pytest

from antiphon import Delivery, Message, Publisher, Transaction
from antiphon.errors import DeclarationError
from antiphon.runtime.signature import Shape, emitted, members, read_signature
from tests.unit.runtime.shop_events import NoEvent, OrderCancelled, OrderPlaced, PaymentDeclined, PaymentTaken


def read(function, *events, batch=False):
    return read_signature(function, events or (OrderPlaced,), {}, batch=batch)


def test_the_event_comes_first_and_the_rest_in_any_order():
    async def take(order: OrderPlaced, tx: Transaction, message: Message, d: Delivery, p: Publisher) -> None: ...

    found = read(take)
    assert found.events == (OrderPlaced,)
    assert found.needs.parameters == (("tx", Transaction), ("message", Message), ("d", Delivery), ("p", Publisher))
    assert found.needs.transaction
    assert found.emits == ()


def test_one_handler_may_take_several_events():
    async def take(order: OrderCancelled | OrderPlaced) -> None: ...

    assert read(take, OrderPlaced, OrderCancelled).events == (OrderPlaced, OrderCancelled)


def test_a_batch_takes_a_list():
    async def take(orders: list[OrderPlaced]) -> None: ...

    assert read(take, batch=True).events == (OrderPlaced,)


def test_an_annotated_event_is_the_event():
    async def take(order: Annotated[OrderPlaced, "anything"]) -> None: ...

    assert read(take).events == (OrderPlaced,)


async def returns_one(order: OrderPlaced) -> PaymentTaken: ...
async def returns_either(order: OrderPlaced) -> PaymentTaken | PaymentDeclined: ...
async def returns_maybe(order: OrderPlaced) -> Optional[PaymentTaken]: ...  # noqa: UP045
async def returns_list(order: OrderPlaced) -> list[PaymentTaken | PaymentDeclined]: ...
async def returns_list_or_none(order: OrderPlaced) -> list[PaymentTaken] | PaymentDeclined | None: ...
async def returns_tuple(order: OrderPlaced) -> tuple[PaymentTaken, ...]: ...
def returns_iterator(order: OrderPlaced) -> Iterator[PaymentTaken]: ...
def returns_sequence(order: OrderPlaced) -> Sequence[PaymentTaken]: ...


@pytest.mark.parametrize(
    ("function", "emits"),
    [
        (returns_one, (PaymentTaken,)),
        (returns_either, (PaymentTaken, PaymentDeclined)),
        (returns_maybe, (PaymentTaken,)),
        (returns_list, (PaymentTaken, PaymentDeclined)),
        (returns_list_or_none, (PaymentTaken, PaymentDeclined)),
        (returns_tuple, (PaymentTaken,)),
        (returns_iterator, (PaymentTaken,)),
        (returns_sequence, (PaymentTaken,)),
    ],
)
def test_the_return_annotation_says_what_is_emitted(function, emits):
    assert read(function).emits == emits


def test_a_tuple_of_several_kinds_emits_each():
    async def take(order: OrderPlaced) -> tuple[PaymentTaken, PaymentDeclined]: ...

    assert read(take).emits == (PaymentTaken, PaymentDeclined)


def test_the_shape_is_that_of_the_function():
    async def coroutine(order: OrderPlaced) -> None: ...

    def plain(order: OrderPlaced) -> None: ...

    def generator(order: OrderPlaced) -> Iterator[PaymentTaken]:
        yield PaymentTaken("")

    async def stream(order: OrderPlaced) -> AsyncIterator[PaymentTaken]:
        yield PaymentTaken("")

    shapes = [read(each).shape for each in (coroutine, plain, generator, stream)]
    assert shapes == [Shape.ASYNC, Shape.PLAIN, Shape.GENERATOR, Shape.ASYNC_GENERATOR]


def test_the_flattened_members_of_a_union_are_found():
    assert members(OrderPlaced | None) == (OrderPlaced, type(None))
    assert members(Annotated[OrderPlaced | OrderCancelled, 1]) == (OrderPlaced, OrderCancelled)


async def no_parameters() -> None: ...
async def not_annotated(order) -> None: ...
async def another_event(order: OrderCancelled) -> None: ...
async def too_few(order: OrderPlaced) -> None: ...
async def single(order: OrderPlaced) -> None: ...
async def unannotated_need(order: OrderPlaced, tx) -> None: ...
async def union_need(order: OrderPlaced, tx: Transaction | None) -> None: ...
async def many_needs(order: OrderPlaced, *needs: Transaction) -> None: ...
async def any_needs(order: OrderPlaced, **needs: Transaction) -> None: ...
async def unnamed_need(order: OrderPlaced, tx: Transaction, /) -> None: ...
async def returns_no_event(order: OrderPlaced) -> NoEvent: ...
async def returns_words(order: OrderPlaced) -> list[str]: ...
async def returns_a_map(order: OrderPlaced) -> dict[str, PaymentTaken]: ...
async def unknown_name(order: OrderPlaced, gateway: Gatewy) -> None: ...  # noqa: F821


@pytest.mark.parametrize(
    ("function", "events", "batch", "told"),
    [
        (no_parameters, (OrderPlaced,), False, "first parameter must be annotated OrderPlaced, the event it handles"),
        (not_annotated, (OrderPlaced,), False, "first parameter must be annotated OrderPlaced"),
        (
            another_event,
            (OrderPlaced,),
            False,
            "the decorator names OrderPlaced, but the parameter 'order' says OrderCancelled: make them the same",
        ),
        (too_few, (OrderPlaced, OrderCancelled), False, "names OrderPlaced | OrderCancelled, but the parameter"),
        (single, (OrderPlaced,), True, r"on_batch() gives list[OrderPlaced], but the parameter says OrderPlaced"),
        (single, (), False, "on() needs at least one event class, as in @service.on(OrderPlaced)"),
        (unannotated_need, (OrderPlaced,), False, "parameter 'tx' has no annotation"),
        (union_need, (OrderPlaced,), False, "parameter 'tx' must be annotated with one class, not"),
        (many_needs, (OrderPlaced,), False, "*needs cannot be given anything; name what the handler needs"),
        (any_needs, (OrderPlaced,), False, "*needs cannot be given anything"),
        (unnamed_need, (OrderPlaced,), False, "parameter 'tx' is given by its name: move it behind the '/'"),
        (returns_no_event, (OrderPlaced,), False, "its return annotation names NoEvent, which is no declared event"),
        (returns_words, (OrderPlaced,), False, "its return annotation names str, which is no declared event"),
        (returns_a_map, (OrderPlaced,), False, "return events, lists of events, or None"),
        (unknown_name, (OrderPlaced,), False, "the annotation 'Gatewy' cannot be found: import it at run time"),
    ],
)
def test_a_mismatch_is_told_with_its_place_and_its_cure(function, events, batch, told):
    with pytest.raises(DeclarationError) as caught:
        read_signature(function, events, {}, batch=batch)
    assert told in str(caught.value)
    assert f"{function.__qualname__} (" in str(caught.value)
    assert f"{__file__}:{function.__code__.co_firstlineno}" in str(caught.value)


def test_what_is_no_function_is_refused():
    with pytest.raises(DeclarationError, match="a handler is a function"):
        read(partial(single))


def test_what_is_no_event_is_refused():
    with pytest.raises(DeclarationError, match="NoEvent"):
        read(single, NoEvent)


def test_nothing_is_emitted_by_what_says_nothing():
    def silent(order: OrderPlaced): ...

    assert read(silent).emits == ()
    assert emitted(silent, None) == ()
