"""How does a process follow what the members of a group write down, and write to it?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from antiphon.brokers.rabbitmq.course import Course, Mark
from antiphon.brokers.rabbitmq.driver import Link
from antiphon.brokers.rabbitmq.names import Names, course_arguments
from antiphon.brokers.rabbitmq.outlet import Outlet
from antiphon.brokers.rabbitmq.stream import Stream, StreamGoneError
from antiphon.errors import BrokerError, ConnectionLostError, StoreCorruptError

logger = logging.getLogger("antiphon.brokers.rabbitmq")
WHOLE_EVERY = 2_000
"""Records after which all is written down at once, so that older ones may be deleted."""
_AS_LARGE = 32
"""So many places in a record count as one more: a whole has to be in what is kept, which goes by bytes."""


class LogGroup:
    """One group as this process knows it. `watchers` are called whenever something changed."""

    def __init__(self, link: Link, outlet: Outlet, names: Names, group: str) -> None:
        self.name, self._link = group, link
        self.course = Course(asyncio.get_running_loop().time)
        self.watchers: set[Callable[[], None]] = set()
        self._stream = Stream(link, outlet, names.course(group), course_arguments(), Mark, self._take)
        self._early: list[tuple[int, Mark]] | None = []
        """What came before anything whole did, of a stream of which something is gone; None once all is known."""
        self._since_whole = 0
        self._writing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read all that is there. Raises StoreCorruptError where its beginning is lost."""
        await self._stream.open()
        await self.look()

    async def reopen(self) -> None:
        """The connection is another."""
        await self._stream.open()
        self.course.hear_all()
        self._tell()

    async def close(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
        await self._stream.close()

    async def write(self, marks: Sequence[Mark]) -> None:
        """Returns when they, and all before them, were taken in. Raises ConnectionLostError, StoreCorruptError.

        It raises the first one, too, while it is not known what holds of them, after records were missed.
        """
        await self._write(marks)
        if self._early is not None:
            raise ConnectionLostError(
                f"what became of group {self.name!r} on {self._link.shown} while this process was away is not known "
                "yet; it is tried again until a member writes it down"
            )

    async def _write(self, marks: Sequence[Mark]) -> None:
        try:
            await self._stream.write(marks)
        except StreamGoneError as error:
            raise StoreCorruptError(
                f"where group {self.name!r} was is not known any more: {error}; restore it, or start all processes of "
                "the group again, which then begins anew, and seek it"
            ) from error

    async def look(self) -> None:
        """Return when all is known that was written before the call."""
        await self._write([Mark("look")])
        if self._early is not None:
            raise StoreCorruptError(
                f"of group {self.name!r} on {self._link.shown} nothing is known any more: what its members wrote down "
                f"was deleted from {self._stream.name!r}: delete that stream, and seek the group"
            )

    def _take(self, mark: Mark) -> None:
        number = self._stream.taken
        # Where a file begins, the server uses one number itself. More are missing for who was away for too long.
        if self._early is None and self._stream.missed > 1:
            self._early = []
        if self._early is not None:
            self._begin(number, mark)
        else:
            self.course.apply(mark)
            self._note_whole(mark)
        self._tell()

    def _begin(self, number: int, mark: Mark) -> None:
        assert self._early is not None
        if not self._early and number == 0:
            self._early = None
            self.course.apply(mark)
            return
        self._early.append((number, mark))
        if mark.kind == "whole" and self._early[0][0] <= mark.upto + 1:
            self.course.begin_from(mark)
            for later, each in self._early:
                if later > mark.upto:
                    self.course.apply(each)
            self._early = None

    def _note_whole(self, mark: Mark) -> None:
        self._since_whole = 0 if mark.kind == "whole" else self._since_whole + 1 + len(mark.places) // _AS_LARGE
        is_due = self._since_whole >= WHOLE_EVERY and self.watchers
        if is_due and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write_whole())

    async def _write_whole(self) -> None:
        try:
            await self.write([self.course.whole(self._stream.taken)])
        except BrokerError as error:
            logger.warning("where group %s is was not written down whole for now: %s", self.name, error)

    def _tell(self) -> None:
        for watcher in tuple(self.watchers):
            watcher()
