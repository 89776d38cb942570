"""How does a handler get a connection of psycopg of its own, whose transaction the service commits?"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from antiphon.storage.database import Database
from antiphon.storage.postgres.address import Address
from antiphon.storage.postgres.driver import (
    AsyncLentConnection,
    DriverError,
    LentConnection,
    Link,
    connect_lent,
    connect_lent_async,
    connection_class,
    lend,
    lend_async,
    take_back,
)
from antiphon.storage.postgres.errors import explain, explain_reconnect
from antiphon.storage.postgres.placeholders import quoted
from antiphon.storage.postgres.users import AsyncPsycopgConnection, PsycopgConnection
from antiphon.storage.sessions import AwaitedSession, Hopping, OwnedTransaction, uncommitted
from antiphon.storage.threads import Threads

_PATH = "select set_config('search_path', ?, false)"


class PsycopgConnections:
    """As `Sessions`: a connection for each attempt. The links behind them are kept, the objects given are not."""

    def __init__(self, database: Database, address: Address, *, is_plain: bool) -> None:
        self._database, self._address, self.is_plain = database, address, is_plain
        self.kind: type | None = connection_class(is_plain=is_plain)
        self._links: list[Link] = []
        self._threads = Threads(lambda: None)
        self._is_open = False

    async def open(self, store: Database) -> None:
        """As `Sessions.open`: it is the store's own."""
        self._is_open = True

    async def close(self) -> None:
        """As `Sessions.close`."""
        self._is_open = False
        self._threads.close()
        while self._links:
            self._links.pop().finish()

    async def begin(self) -> OwnedTransaction:
        """As `Sessions.begin`."""
        session: AwaitedSession
        if self.is_plain:
            session = Hopping(_PlainSession(self._address, self._free, self._keep), self._threads)
        else:
            session = _AsyncSession(self._address, self._free, self._keep)
        tx = OwnedTransaction(session, self._database)
        await tx.begin()
        return tx

    def _free(self) -> Link | None:
        return self._links.pop() if self._links else None

    def _keep(self, link: Link) -> None:
        if self._is_open and len(self._links) < self._address.connections:
            self._links.append(link)
        else:
            link.finish()


Free = Callable[[], Link | None]
Keep = Callable[[Link], None]


class _PlainSession(PsycopgConnection):
    """As a `PlainSession`."""

    def __init__(self, address: Address, free: Free, keep: Keep) -> None:
        super().__init__(None, address.place)
        self._address, self._free, self._keep = address, free, keep
        self._lent: LentConnection | None = None

    @property
    def session(self) -> object:
        return self._lent

    def begin(self) -> None:
        address = self._address
        link = self._free()
        try:
            self._lent = lend(link or connect_lent(address.parameters), address.isolation)
        except (DriverError, OSError) as error:
            raise explain_reconnect(error, address.place) from error  # its store is open
        self._raw = self._lent
        if link is None and address.schema is not None:
            self.run(_PATH, [quoted(address.schema)])
            self.commit()  # rolled back, it would be forgotten

    def flush(self) -> None: ...

    def commit(self) -> None:
        assert self._lent is not None, "what has begun is committed"
        try:
            self._lent.end(commit=True)
        except DriverError as error:
            raise uncommitted(explain(error, self.name, "commit"), error) from error

    def close(self) -> None:
        lent, self._lent = self._lent, None
        if lent is not None:
            with suppress(DriverError):  # then the server undoes it, and the link is of no more use
                lent.end(commit=False)
            if (link := take_back(lent)) is not None:
                self._keep(link)


class _AsyncSession(AsyncPsycopgConnection):
    """As an `AwaitedSession`."""

    def __init__(self, address: Address, free: Free, keep: Keep) -> None:
        super().__init__(None, address.place)
        self._address, self._free, self._keep = address, free, keep
        self._lent: AsyncLentConnection | None = None

    @property
    def session(self) -> object:
        return self._lent

    async def begin(self) -> None:
        address = self._address
        link = self._free()
        try:
            self._lent = await lend_async(link or await connect_lent_async(address.parameters), address.isolation)
        except (DriverError, OSError) as error:
            raise explain_reconnect(error, address.place) from error  # its store is open
        self._raw = self._lent
        if link is None and address.schema is not None:
            await self.run(_PATH, [quoted(address.schema)])
            await self.commit()  # rolled back, it would be forgotten

    async def flush(self) -> None: ...

    async def commit(self) -> None:
        assert self._lent is not None, "what has begun is committed"
        try:
            await self._lent.end(commit=True)
        except DriverError as error:
            raise uncommitted(explain(error, self.name, "commit"), error) from error

    async def close(self) -> None:
        lent, self._lent = self._lent, None
        if lent is not None:
            with suppress(DriverError):  # then the server undoes it, and the link is of no more use
                await lent.end(commit=False)
            if (link := take_back(lent)) is not None:
                self._keep(link)
