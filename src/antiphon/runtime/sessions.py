"""Which session or connection does each handler get that asks for one, and is it on the service's own store?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from antiphon.brokers.ports import Broker
from antiphon.errors import DeclarationError
from antiphon.outbox.due import is_on
from antiphon.runtime.route import Handler, Mode, Route
from antiphon.runtime.signature import Shape, where
from antiphon.storage.database import Database
from antiphon.storage.recognizing import is_lent_by_stores
from antiphon.storage.sessions import LendingDatabase, Sessions

_PLAIN = (Shape.PLAIN, Shape.GENERATOR)


class HandlerSessions:
    """The sessions of some handlers on one store, open or not."""

    def __init__(self, handlers: Iterable[Handler], store: Database, given: Sequence[Sessions]) -> None:
        """Raises DeclarationError for a handler that asks for what neither the store nor the service can give."""
        self._store = store
        self._lent: dict[bool, Sessions] = {}
        self.by_handler: Mapping[str, Sessions] = {
            handler.name: self._find(handler, given) for handler in handlers if handler.mode is Mode.SESSION
        }

    async def open(self) -> None:
        """Make them ready. Raises UsageError when one is on another database, StoreError."""
        for sessions in self._each():
            await sessions.open(self._store)

    async def close(self) -> None:
        """Let go of what they keep. Twice is safe."""
        for sessions in self._each():
            await sessions.close()

    def serve(self, routes: Mapping[str, Mapping[str, Route]]) -> None:
        """Let the routes of these handlers use them."""
        for by_name in routes.values():
            for route in by_name.values():
                route.sessions = self.by_handler.get(route.name)

    def _each(self) -> list[Sessions]:
        return list({id(sessions): sessions for sessions in self.by_handler.values()}.values())

    def _find(self, handler: Handler, given: Sequence[Sessions]) -> Sessions:
        kind, is_plain = handler.signature.needs.session, handler.signature.shape in _PLAIN
        if kind is not None and is_lent_by_stores(kind):
            return self._lend(handler, kind, is_plain=is_plain)
        for sessions in given:
            if sessions.is_plain is is_plain and _fits(sessions.kind, kind):
                return sessions
        asked = "a session" if kind is None else kind.__name__
        raise DeclarationError(
            f"{where(handler.function)} asks for {asked}, and its service has no sessions of that kind: give the "
            "service sessions=SqlAlchemySessions(...), with an async_sessionmaker for `async def` and AsyncSession, "
            "or a sessionmaker for `def` and Session"
        )

    def _lend(self, handler: Handler, kind: type, *, is_plain: bool) -> Sessions:
        if isinstance(self._store, LendingDatabase):
            lent = self._lent.get(is_plain) or self._store.connections(plain=is_plain)
            if lent.kind is kind:
                return self._lent.setdefault(is_plain, lent)
        raise DeclarationError(
            f"{where(handler.function)} asks for {kind.__module__}.{kind.__name__}, and its service's store, "
            f"{self._store.url}, has connections of another kind: ask for those, or give the service another store="
        )


def check_sessions(handlers: Sequence[Handler], broker: Broker, store: Database, given: Sequence[Sessions]) -> None:
    """Raise DeclarationError for a handler that could not have its session with this broker and store."""
    found = HandlerSessions(handlers, store, given)
    for handler in handlers:
        if handler.name in found.by_handler and found.by_handler[handler.name] in given and is_on(broker, store):
            raise DeclarationError(
                f"{where(handler.function)} is given a session, and the store of its service is the broker's own, "
                "which only Antiphon writes to: give the service the session's database as its store, as in "
                "store='sqlite:///app.db' or store='postgresql://...'"
            )


def _fits(made: type | None, asked: type | None) -> bool:
    if made is None or asked is None:
        return made is asked
    return issubclass(made, asked)
