"""What lanes carry: a delivery with its route, and the attempts made at it."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from types import TracebackType

from msgspec import Struct, structs

from antiphon.brokers.ports import Delivery
from antiphon.events.discretion import hide_values
from antiphon.events.message import Message
from antiphon.runtime.route import Route
from antiphon.runtime.window import WAITING
from antiphon.storage.set_aside import Attempt


class Work(Struct, frozen=True, eq=False, gc=False):
    """One delivery on its way to one handler, and the attempts made at it before it came here."""

    delivery: Delivery
    route: Route
    past: tuple[Attempt, ...] = ()
    forgiven: int = 0
    """The first so many of them count no more."""
    is_redriven: bool = False
    """Somebody sent it again, whatever its deadline says."""


def tried(work: Work, attempts: Sequence[Attempt]) -> Work:
    """The work with the attempts made at it since, so that they count wherever it waits."""
    return structs.replace(work, past=tuple(attempts))


def read(route: Route, message: Message) -> object:
    """The event in a message; None for a tombstone, where the route takes them. Raises SchemaError."""
    if message.data is None and route.takes_tombstones:
        return None
    return route.codec.read(message, accept_newer=route.newer == "accept")


def mark_of(work: Work) -> str:
    """What the inbox marks when a work is handled: its message, or the value that it is handled once for."""
    message, route = work.delivery.message, work.route
    if route.once_by is None:
        return message.identity
    try:
        value: object = getattr(read(route, message), route.once_by, None)
    except Exception:  # whatever cannot be read is handled, and parked, as itself
        return message.identity
    return message.identity if value is None else f"{route.label}\x1f{route.once_by}\x1f{value}"


_GROUP: type[BaseException] = BaseExceptionGroup
LONGEST_TEXT = 20_000
"""Characters that are kept of what an error says, and as many of its traceback."""


def attempt_of(error: BaseException, at: datetime) -> Attempt:
    """What is kept of one failed attempt: it can be stored whatever the error says, and has no values of statements."""
    hide_values(error)
    return Attempt(at, type(error).__name__, _storable(_said_by(error)), _storable(_traced(error)))


def _traced(error: BaseException) -> str:
    """Its traceback from the user's code on: what of ours called that explains nothing."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and _is_ours(trace):
        trace = trace.tb_next
    if error.__cause__ or error.__context__ or isinstance(error, _GROUP):
        return "".join(traceback.format_exception(type(error), error, trace))
    # By hand, since marking the place in each line is most of the work, and one failure may be one of thousands.
    frames = [
        traceback.FrameSummary(f.f_code.co_filename, line, f.f_code.co_name) for f, line in traceback.walk_tb(trace)
    ]
    lines = traceback.StackSummary.from_list(frames).format()
    return "".join(["Traceback (most recent call last):\n", *lines, *traceback.format_exception_only(error)])


def _is_ours(trace: TracebackType) -> bool:
    return str(trace.tb_frame.f_globals.get("__name__", "")).startswith("antiphon.")


def fingerprint_of(handler: str, event: str, error: BaseException | None) -> str:
    """The same for failures of one handler on one event, of one class and raised in one function, whatever they say.

    Lines do not count, so that it outlives a change of the code elsewhere.
    """
    place = [] if error is None else [type(error).__qualname__, _innermost(error.__traceback__)]
    return blake2b("\0".join([handler, event, *place]).encode(errors="replace"), digest_size=6).hexdigest()


def _innermost(trace: TracebackType | None) -> str:
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', '')}.{trace.tb_frame.f_code.co_qualname}"


def _said_by(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(it raises an error of its own when it is asked what it says)"


def _storable(text: str) -> str:
    """Its ends, when it is long, and without what UTF-8 cannot hold, such as parts of undecodable file names."""
    left_out = len(text) - LONGEST_TEXT
    if left_out > 0:
        half = LONGEST_TEXT // 2
        text = f"{text[:half]}\n({left_out} characters left out)\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()


def live(works: Sequence[Work]) -> list[Work]:
    """Those not lost or settled meanwhile."""
    return [work for work in works if work.delivery.state == WAITING]
