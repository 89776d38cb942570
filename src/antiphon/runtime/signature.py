"""What a handler's signature says: the events it takes, what else it needs, and what it emits."""

from __future__ import annotations

import inspect
import types
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from enum import Enum
from typing import Annotated, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

from antiphon.brokers.ports import Delivery
from antiphon.errors import DeclarationError
from antiphon.events.declare import declaration_of
from antiphon.events.message import Message
from antiphon.runtime.asking import Asker
from antiphon.runtime.publisher import Publisher
from antiphon.storage.database import Transaction
from antiphon.storage.recognizing import is_given_to_handlers

_MANY = (list, tuple, Sequence, Iterable, Iterator, Generator, AsyncIterable, AsyncIterator, AsyncGenerator)


class Shape(Enum):
    """How a handler runs: as a coroutine, in a thread, or as a generator of either kind."""

    ASYNC = "async"
    PLAIN = "plain"
    ASYNC_GENERATOR = "async generator"
    GENERATOR = "generator"


class Needs(Struct, frozen=True):
    """What a handler asks for besides its event, as names of parameters in order."""

    parameters: tuple[tuple[str, type], ...]

    def of(self, wanted: type) -> tuple[str, ...]:
        return tuple(name for name, kind in self.parameters if kind is wanted)

    @property
    def transaction(self) -> bool:
        return any(kind is Transaction for _, kind in self.parameters)

    @property
    def session(self) -> type | None:
        """The class of session or connection that it asks for, if it does."""
        return next((kind for _, kind in self.parameters if is_given_to_handlers(kind)), None)


class Signature(Struct, frozen=True):
    """A handler as its annotations declare it."""

    events: tuple[type, ...]
    needs: Needs
    emits: tuple[type, ...]
    shape: Shape


Hints = Mapping[str, object]


def where(function: Callable[..., object]) -> str:
    """`module.function (file:line)`, for errors."""
    code = getattr(function, "__code__", None)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    return f"{function.__module__}.{function.__qualname__}{place}"


def read_signature(
    function: Callable[..., object],
    events: Sequence[type],
    local_names: Mapping[str, object],
    *,
    batch: bool,
    answers: bool = False,
) -> Signature:
    """Compare `function` with the `events` of its decorator. Raises DeclarationError on any mismatch.

    One that `answers` returns one event and nothing else, which is then all that it emits.
    """
    if not inspect.isroutine(function):
        raise DeclarationError(f"{function!r} cannot be declared: a handler is a function, made by def or async def")
    if not events:
        raise DeclarationError(
            f"{where(function)}: on() needs at least one event class, as in @service.on(OrderPlaced)"
        )
    for event in events:
        declaration_of(event)
    hints = resolve_hints(function, {**local_names, **{event.__name__: event for event in events}})
    parameters = list(inspect.signature(function).parameters.values())
    _check_event_parameter(function, parameters, hints, events, batch=batch)
    needs = Needs(tuple(_need(function, parameter, hints) for parameter in parameters[1:]))
    returned = hints.get("return")
    emits = (_reply_class(function, returned),) if answers else emitted(function, returned)
    return Signature(tuple(events), needs, emits, _shape(function))


def resolve_hints(function: Callable[..., object], local_names: Mapping[str, object]) -> Hints:
    """The annotations of `function` as types. Raises DeclarationError naming the one that cannot be found."""
    try:
        return get_type_hints(function, localns=dict(local_names), include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"{where(function)}: the annotation {error.name!r} cannot be found: import it at run time "
            "(not under TYPE_CHECKING), since annotations decide what the handler gets"
        ) from error


def _check_event_parameter(
    function: Callable[..., object],
    parameters: Sequence[inspect.Parameter],
    hints: Hints,
    events: Sequence[type],
    *,
    batch: bool,
) -> None:
    expected = " | ".join(event.__name__ for event in events)
    wanted = f"list[{expected}]" if batch else expected
    if not parameters or parameters[0].name not in hints:
        raise DeclarationError(
            f"{where(function)}: the first parameter must be annotated {wanted}, the event it handles"
        )
    found = hints[parameters[0].name]
    if batch:
        if get_origin(found) is not list:
            raise DeclarationError(
                f"{where(function)}: on_batch() gives {wanted}, but the parameter says {_name(found)}"
            )
        found = get_args(found)[0]
    if set(members(found)) != set(events):
        raise DeclarationError(
            f"{where(function)}: the decorator names {expected}, but the parameter {parameters[0].name!r} says "
            f"{_name(found)}: make them the same"
        )


def _need(function: Callable[..., object], parameter: inspect.Parameter, hints: Hints) -> tuple[str, type]:
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        raise DeclarationError(
            f"{where(function)}: *{parameter.name} cannot be given anything; name what the handler needs"
        )
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise DeclarationError(
            f"{where(function)}: parameter {parameter.name!r} is given by its name: move it behind the '/'"
        )
    kind = hints.get(parameter.name)
    origin: object = get_origin(kind)
    if isinstance(origin, type) and is_given_to_handlers(origin):
        kind = origin  # as in AsyncConnection[TupleRow]
    if kind is None:
        raise DeclarationError(
            f"{where(function)}: parameter {parameter.name!r} has no annotation; what a handler needs it asks for by "
            "annotation (Message, Delivery, Transaction, Publisher, Asker, or a type that the service provides)"
        )
    if not isinstance(kind, type):
        raise DeclarationError(
            f"{where(function)}: parameter {parameter.name!r} must be annotated with one class, not {_name(kind)}"
        )
    return parameter.name, kind


def members(hint: object) -> tuple[object, ...]:
    """The members of a union, or the one type itself."""
    if get_origin(hint) is Annotated:
        return members(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(member for part in get_args(hint) for member in members(part))
    return (hint,)


def emitted(function: Callable[..., object], hint: object) -> tuple[type, ...]:
    """The event classes that a return annotation declares. Raises DeclarationError for anything else."""
    found: list[type] = []
    for member in members(hint):
        if member is None or member is type(None):
            continue
        if get_origin(member) in _MANY:
            parts = get_args(member) if get_origin(member) is tuple else get_args(member)[:1]
            inner = [part for part in parts if part is not ...]
            found += [event for part in inner for event in emitted(function, part) if event not in found]
        else:
            found.append(_emitted_class(function, member))
    return tuple(found)


def _emitted_class(function: Callable[..., object], member: object) -> type:
    if isinstance(member, type):
        try:
            declaration_of(member)
        except DeclarationError as error:
            raise DeclarationError(
                f"{where(function)}: what a handler returns is published, but its return annotation names "
                f"{member.__qualname__}, which is no declared event: return events, lists of events, or None"
            ) from error
        return member
    raise DeclarationError(
        f"{where(function)}: its return annotation says {_name(member)}; return events, lists of events, or None"
    )


def _reply_class(function: Callable[..., object], hint: object) -> type:
    """The one event class that a function replies with. Raises DeclarationError for anything else."""
    yields = _shape(function) in (Shape.ASYNC_GENERATOR, Shape.GENERATOR)
    if yields or hint is type(None) or not isinstance(hint, type) or get_args(hint):
        told = "nothing" if hint is None else _name(hint)
        raise DeclarationError(
            f"{where(function)}: who answers returns one event of one class, as in `-> Price`, but its return "
            f"annotation says {told}: put every outcome into one event, and raise RejectError for a request that "
            "cannot be answered"
        )
    return _emitted_class(function, hint)


def _shape(function: Callable[..., object]) -> Shape:
    if inspect.isasyncgenfunction(function):
        return Shape.ASYNC_GENERATOR
    if inspect.isgeneratorfunction(function):
        return Shape.GENERATOR
    return Shape.ASYNC if inspect.iscoroutinefunction(function) else Shape.PLAIN


def _name(hint: object) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)


_PROVIDED_BY_RUNTIME: tuple[type, ...] = (Message, Delivery, Transaction, Publisher, Asker)


def is_provided_by_runtime(kind: type) -> bool:
    """Whether a handler gets it without that the service provides it."""
    return kind in _PROVIDED_BY_RUNTIME or is_given_to_handlers(kind)
