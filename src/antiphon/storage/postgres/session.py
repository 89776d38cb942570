"""How do statements reach the server without waiting, and which of them failed?"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from antiphon.errors import StatementError, StoreError, StoreUnavailableError
from antiphon.storage.database import DatabaseCounters, Row, SqlValue
from antiphon.storage.postgres.driver import (
    UNBINDABLE,
    Bound,
    DriverError,
    Result,
    Wire,
    columns,
    error_of,
    is_fatal,
    is_good,
    is_skipped,
    said,
)
from antiphon.storage.postgres.errors import explain, explain_value, is_stale
from antiphon.storage.postgres.texts import Text, Texts
from antiphon.storage.statements import shorten

_MOST_PREPARED = 256
_MOST_VARIANTS = 8
_MOST_UNANSWERED = 1000
_CANCELING = timedelta(seconds=2)


class Prepared(NamedTuple):
    """A statement that the server knows by a name, for values of these types."""

    name: bytes
    types: tuple[int, ...]


class Sent(NamedTuple):
    """A statement on its way: its text, the part of the transaction that it belongs to, what it prepared."""

    sql: str
    part: int = 0
    preparing: Prepared | None = None
    is_asked: bool = False
    """Whether somebody may want its rows."""


class Failed(NamedTuple):
    """The first statement that failed of all that were sent."""

    error: StoreError
    sent: Sent
    is_certain: bool
    """Whether the last one that was sent is known not to have been run."""


class Session:
    """One connection of a pool, in one pair of hands at a time.

    What is sent goes out as it comes, and after a failure the server skips the rest up to the next `settle`. Its
    statements are prepared once each, so that a text is parsed and planned once.
    """

    def __init__(self, wire: Wire, place: str, texts: Texts, counters: DatabaseCounters) -> None:
        self._wire, self._place, self._texts = wire, place, texts
        self.counters = counters
        self._sent: deque[Sent] = deque()
        self._prepared: OrderedDict[str, list[Prepared]] = OrderedDict()
        self._names = 0
        self._last: Result | None = None
        self._answer: Result | None = None
        self.is_stale = False
        """Whether its prepared statements are of no more use."""

    @property
    def is_lost(self) -> bool:
        """Whether nothing more can be said to the server."""
        return self._wire.is_lost

    @property
    def is_crowded(self) -> bool:
        """Whether so much waits for its answer that `settle` should come first."""
        return len(self._sent) >= _MOST_UNANSWERED

    @property
    def is_waiting(self) -> bool:
        """Whether some task waits for answers now."""
        return self._wire.is_waiting

    def is_usable(self) -> bool:
        """Whether it can serve another transaction, as far as is known here."""
        return not self._sent and not self.is_stale and self._wire.is_usable()

    def require_alive(self) -> None:
        """Raise StoreUnavailableError when the server is known to have closed it."""
        if not self._wire.is_usable():
            raise StoreUnavailableError(
                f"{self._place}: the connection was lost, and with it the transaction: nothing was written"
            )

    def send(self, sql: str, args: Sequence[SqlValue] = (), part: int = 0) -> None:
        """Send a statement. Raises StatementError for values that cannot be sent; then the server heard nothing."""
        text = self._texts.of(sql)
        if len(args) != text.values:
            raise StatementError(
                f"{self._place}: cannot run {shorten(sql)!r}: it takes {text.values} values and was given {len(args)}"
            )
        bound = self._bind(sql, args)
        try:
            prepared = self._find(text, bound) or self._prepare(text, bound, part)
            self._wire.run(prepared.name, bound)
        except DriverError as error:
            raise self._lost(error, sql) from error
        self._sent.append(Sent(text.sql, part, is_asked=True))
        self.counters.statements += 1

    def control(self, sql: str, part: int = 0) -> None:
        """Send a statement without values that is not worth preparing; it is not counted."""
        try:
            self._wire.run_once(sql)
        except DriverError as error:
            raise self._lost(error, sql) from error
        self._sent.append(Sent(sql, part))

    async def settle(self) -> Failed | None:
        """Wait until all that was sent is answered; one round trip. Returns the first failure.

        When the connection is lost, that is the failure, and `is_lost` from then on.
        """
        if not self._sent:
            return None
        sent, results = self._sent, list[Result]()
        self.counters.round_trips += 1
        try:
            await self._wire.answers(results)
        except DriverError as error:
            return self._first_failure(sent, results) or self._lost_while(sent, results, error)
        self._sent = deque()
        asked = [result for each, result in zip(sent, results, strict=True) if each.is_asked]
        self._answer, self._last = asked[-1] if asked else None, results[-1]
        return self._first_failure(sent, results)

    def rows(self) -> list[Row]:
        """The rows of the last statement that was settled."""
        return [] if self._answer is None else self._wire.rows(self._answer)

    def columns(self) -> list[str]:
        """Their columns' names."""
        return [] if self._answer is None else columns(self._answer)

    def said(self) -> str:
        """What the server calls what it did last."""
        return "" if self._last is None else said(self._last)

    async def abandon(self) -> None:
        """End it, and whatever the server still does for it."""
        try:
            if self._sent:
                with suppress(DriverError):  # the server finds out by itself that nobody is there any more
                    await self._wire.cancel(_CANCELING)
        finally:
            self.close()

    def close(self) -> None:
        """End it at once. Twice is safe."""
        self._sent = deque()
        self._wire.close()

    def _bind(self, sql: str, args: Sequence[SqlValue]) -> Bound:
        try:
            return self._wire.bind(args)
        except UNBINDABLE as error:
            raise explain_value(error, self._place, f"run {shorten(sql)!r}") from error

    def _find(self, text: Text, bound: Bound) -> Prepared | None:
        """A prepared statement whose types fit. A value that is null fits every type."""
        variants = self._prepared.get(text.sql)
        if variants is None:
            return None
        self._prepared.move_to_end(text.sql)
        for each in variants:
            if each.types == bound.types or _fits(each.types, bound):
                return each
        return None

    def _prepare(self, text: Text, bound: Bound, part: int) -> Prepared:
        if len(self._prepared) >= _MOST_PREPARED:
            self._forget_oldest()
        self._names += 1
        prepared = Prepared(b"a%d" % self._names, bound.types)
        self._wire.prepare(prepared.name, text.sql, bound.types)
        self._sent.append(Sent(text.sql, part, prepared))
        variants = self._prepared.setdefault(text.sql, [])
        if len(variants) >= _MOST_VARIANTS:
            self._forget(variants.pop(0))
        variants.append(prepared)
        return prepared

    def _forget_oldest(self) -> None:
        _, variants = self._prepared.popitem(last=False)
        for each in variants:
            self._forget(each)

    def _forget(self, prepared: Prepared) -> None:
        self._wire.forget(prepared.name)
        self._sent.append(Sent("deallocate"))

    def _first_failure(self, sent: Sequence[Sent], results: Sequence[Result]) -> Failed | None:
        failed: Failed | None = None
        for each, result in zip(sent, results, strict=False):
            if each.preparing is not None and not is_good(result):
                self._unprepare(each.sql, each.preparing)
            if failed is None and not is_good(result) and not is_skipped(result):
                error = error_of(result) or DriverError(f"unexpected answer {result.status}")
                self.is_stale = self.is_stale or is_stale(error)
                is_certain = not is_fatal(result) or each is not sent[-1]
                failed = Failed(self._explained(error, each.sql), each, is_certain)
        return failed

    def _unprepare(self, sql: str, prepared: Prepared) -> None:
        variants = self._prepared.get(sql, [])
        if prepared in variants:
            variants.remove(prepared)
        if not variants:
            self._prepared.pop(sql, None)

    def _explained(self, error: DriverError, sql: str) -> StoreError:
        explained = explain(error, self._place, f"run {shorten(sql)!r}")
        explained.__cause__ = error
        return explained

    def _lost_while(self, sent: Sequence[Sent], results: Sequence[Result], error: DriverError) -> Failed:
        unanswered = sent[min(len(results), len(sent) - 1)]
        return Failed(self._lost(error, unanswered.sql), unanswered, is_certain=False)

    def _lost(self, error: DriverError, sql: str) -> StoreError:
        lost = StoreUnavailableError(
            f"{self._place}: the connection was lost, and with it the transaction, at {shorten(sql)!r}: "
            f"{' '.join(str(error).split())}"
        )
        lost.__cause__ = error
        return lost


def _fits(types: tuple[int, ...], bound: Bound) -> bool:
    """Whether these values can be sent to a statement that was prepared for `types`."""
    return all(
        wanted == given or value is None for wanted, given, value in zip(types, bound.types, bound.values, strict=True)
    )
