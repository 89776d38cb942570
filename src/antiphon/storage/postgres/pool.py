"""Who may use which connection, and what happens while the server is gone?

The driver's own pool connects in tasks of its own: whoever waits is told that none came in time, and why is in a log.
Here whoever needs a connection makes it, and is told at once what the server said.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

from antiphon.errors import ClosedError, StoreError, StoreUnavailableError
from antiphon.storage.database import DatabaseCounters
from antiphon.storage.postgres.address import Address
from antiphon.storage.postgres.driver import DriverError, connect
from antiphon.storage.postgres.errors import explain, explain_reconnect
from antiphon.storage.postgres.placeholders import quoted
from antiphon.storage.postgres.session import Session
from antiphon.storage.postgres.texts import Texts

_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(milliseconds=50), timedelta(seconds=5)
_SETTINGS = """select set_config('search_path', coalesce(?, current_setting('search_path')), false),
set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO', false),
set_config('IntervalStyle', 'iso_8601', false), set_config('standard_conforming_strings', 'on', false)"""


class Pool:
    """Up to `connections` of them: whoever comes first is served first, and a new one is made when none is free."""

    def __init__(self, address: Address, counters: DatabaseCounters) -> None:
        self._address, self._counters = address, counters
        self._texts = Texts()
        self._free: list[Session] = []
        self._turns = asyncio.Semaphore(address.connections)
        self._backoff = Backoff()
        self._is_open = False

    async def open(self) -> None:
        """Make the first connection, so that what is wrong with the URL is known. Raises StoreError. Twice is safe."""
        if not self._is_open:
            # The event loop may be another one than before.
            self._turns, self._backoff = asyncio.Semaphore(self._address.connections), Backoff()
            self._free.append(await self._backoff.attempt(self._connect))
            self._is_open = True

    def close(self) -> None:
        """Close the free ones; one in use is closed when it is given back. Twice is safe."""
        self._is_open = False
        while self._free:
            self._free.pop().close()

    async def take(self, tried: str) -> Session:
        """A connection for one pair of hands, until it is given back. Raises StoreError."""
        self._require_open(tried)
        await self._wait_for_turn()
        try:
            self._require_open(tried)
            while self._free:
                session = self._free.pop()
                if session.is_usable():
                    return session
                session.close()  # the server has closed it, as when it was restarted
            return await self._backoff.attempt(self._connect)
        except BaseException:
            self._turns.release()
            raise

    async def connect_apart(self) -> Session:
        """A connection that is none of the pool's: whoever asked closes it. Raises StoreError."""
        self._require_open("connect")
        return await self._backoff.attempt(self._connect)

    async def give_back(self, session: Session) -> None:
        """Let the next one have it, or end it when it is of no more use."""
        try:
            if self._is_open and session.is_usable():
                self._free.append(session)
            else:
                await session.abandon()
        finally:
            self._turns.release()

    async def _wait_for_turn(self) -> None:
        patience = self._address.patience
        try:
            async with asyncio.timeout(patience.total_seconds()):
                await self._turns.acquire()
        except TimeoutError:
            raise StoreUnavailableError(
                f"{self._address.place}: all {self._address.connections} connections of this process have been in use "
                f"for more than {patience}: end transactions sooner, or allow more with ?connections="
            ) from None

    async def _connect(self) -> Session:
        address = self._address
        try:
            wire = await connect(address.parameters)
        except (DriverError, OSError) as error:
            if self._is_open:
                raise explain_reconnect(error, address.place) from error
            raise explain(error, address.place, "connect") from error
        session = Session(wire, address.place, self._texts, DatabaseCounters())
        try:
            session.send(_SETTINGS, (None if address.schema is None else quoted(address.schema),))
            failed = await session.settle()
        except BaseException:
            session.close()
            raise
        if failed is not None:
            session.close()
            raise failed.error
        session.counters = self._counters  # what opening costs is no statement of anyone's
        return session

    def _require_open(self, tried: str) -> None:
        if not self._is_open:
            raise ClosedError(self._address.place, tried)


class Backoff:
    """When a server that is gone may be tried again: one try for all who wait, each later than the one before."""

    def __init__(self) -> None:
        self._trying = asyncio.Lock()
        self._tries = 0
        self._pause = timedelta()
        self._until = 0.0
        self._error: StoreError | None = None

    async def attempt(self, connect: Callable[[], Awaitable[Session]]) -> Session:
        """Connect, once it is time. Who waited while another one's try failed is told of that failure."""
        tries = self._tries
        async with self._trying:
            if self._tries > tries and self._error is not None:
                raise type(self._error)(*self._error.args) from self._error.__cause__
            await asyncio.sleep(max(0.0, self._until - asyncio.get_running_loop().time()))
            try:
                session = await connect()
            except StoreError as error:
                self._failed(error)
                raise
            self._pause, self._until, self._error = timedelta(), 0.0, None
            return session

    def _failed(self, error: StoreError) -> None:
        self._tries += 1
        self._error = error
        self._pause = min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        pause = self._pause.total_seconds() * random.uniform(0.5, 1.0)
        self._until = asyncio.get_running_loop().time() + pause
