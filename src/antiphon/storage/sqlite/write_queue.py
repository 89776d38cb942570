"""Whose turn is it to write, among the tasks of this process and among processes?"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from antiphon.errors import ClosedError, StoreUnavailableError
from antiphon.storage.sqlite.file_lock import FileLock


class WriteQueue:
    """One writer at a time: tasks in order of arrival, then processes at the file lock.

    It owns the one thread that may wait for a disk or for another process, so that the event loop never does.
    """

    def __init__(self, path: str, lock: FileLock | None, patience: timedelta) -> None:
        self._path, self._lock, self._patience = path, lock, patience
        self._turn = asyncio.Lock()
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._wanted = False
        self._turns = 0
        self._is_lent = False

    def open(self, file: str) -> None:
        """Start the thread, and lock beside `file`. Raises OSError when the lock files cannot be made."""
        self._turn = asyncio.Lock()  # the event loop may be another one than before
        self._is_lent = False
        if self._lock is not None:
            self._lock.open(file)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="antiphon-store")

    async def close(self) -> None:
        """Stop after those who wait already; from the call on, nobody may enter. Twice is safe.

        A turn that is lent is not waited for: a handler that nothing ends may have it.
        """
        if self._is_lent:
            self._leave_behind()
            return
        async with self._turn:
            if self._thread is not None:
                self._thread.shutdown(wait=self._waiting is None)
                self._thread = None
            if self._lock is not None and self._waiting is None:
                self._lock.close()

    async def enter(self) -> None:
        """Return when it is our turn. Raises StoreUnavailableError when somebody keeps it for too long.

        Canceling is safe: the turn is not taken, or given back.
        """
        await self._enter_turn()
        try:
            await self._enter_file()
        except BaseException:
            self._turn.release()
            raise

    def leave(self) -> None:
        """Let the next one in, here and elsewhere."""
        self.leave_file()
        self._turn.release()

    def lend(self) -> Callable[[], None]:
        """Let another connection have the turn that was entered; returns what gives it back, also after a `close`."""
        turn, lock = self._turn, self._lock
        self._is_lent = True

        def give_back() -> None:
            if lock is not None:
                lock.release()
            if turn is self._turn:
                self._is_lent = False
            elif lock is not None:
                lock.close()
            turn.release()

        return give_back

    def _leave_behind(self) -> None:
        """Close but for the turn that is lent, which has its own locks from now on."""
        self._turn, self._is_lent = asyncio.Lock(), False
        self._lock = None if self._lock is None else FileLock()
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None

    def leave_file(self) -> None:
        """Let other processes in; the turn in this process is kept until `leave`. Any thread may call it."""
        if self._lock is not None:
            self._lock.release()

    async def run(self, work: Callable[[], None]) -> None:
        """Do `work` in the thread. Canceling waits for its end first, so its outcome is always known."""
        future = self._submit(work)
        interrupted: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait({future})
            except asyncio.CancelledError as error:
                interrupted = error
        if interrupted is not None:
            raise interrupted from future.exception()
        future.result()

    async def _enter_turn(self) -> None:
        while True:
            turns, turn = self._turns, self._turn
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience.total_seconds()):
                    await turn.acquire()
                if turn is not self._turn:
                    turn.release()
                    raise ClosedError(self._path, "wait for the turn to write")
                self._turns += 1
                return
            if self._turns == turns:
                raise StoreUnavailableError(
                    f"{self._path}: a transaction of this process has been open for more than {self._patience}: "
                    "if it waits for this write, do the write in that transaction; else end it sooner"
                )

    async def _enter_file(self) -> None:
        if self._lock is None:
            return
        if self._waiting is None:
            if self._lock.try_acquire():
                return
            self._waiting = self._submit(self._lock.acquire)
            self._waiting.add_done_callback(self._give_back_unwanted)
        await self._wait_for_file(self._waiting)

    async def _wait_for_file(self, waiting: asyncio.Future[None]) -> None:
        self._wanted = True
        try:
            await asyncio.wait({waiting}, timeout=self._patience.total_seconds())
        except asyncio.CancelledError:
            self._abandon(waiting)
            raise
        if not waiting.done():
            self._abandon(waiting)
            raise StoreUnavailableError(
                f"{self._path}: another process has been writing for more than {self._patience}: "
                "look for one that is stopped, or that waits inside a transaction"
            )
        self._waiting = None
        waiting.result()

    def _abandon(self, waiting: asyncio.Future[None]) -> None:
        # The thread cannot be called back from its wait. The next writer takes over the wait; when there is
        # none, the lock is given back as soon as it arrives.
        self._wanted = False
        if waiting.done():
            self._give_back_unwanted(waiting)

    def _give_back_unwanted(self, waiting: asyncio.Future[None]) -> None:
        if self._waiting is waiting and not self._wanted:
            self._waiting = None
            self.leave_file()
            if self._thread is None and self._lock is not None:
                self._lock.close()

    def _submit(self, work: Callable[[], None]) -> asyncio.Future[None]:
        assert self._thread is not None  # the database opens and closes it
        return asyncio.get_running_loop().run_in_executor(self._thread, work)
