"""In which thread does a library run that keeps a connection for each thread? In one that is lent for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


class LentThread:
    """One thread, in one pair of hands."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="antiphon-session")

    async def call(self, work: Callable[[], T]) -> T:
        """What `work` gives, in this thread. Canceling does not end it: what is called next waits for it."""
        context = copy_context()
        return await asyncio.wrap_future(self._executor.submit(lambda: context.run(work)))

    def end(self, work: Callable[[], object]) -> None:
        """Do one last thing once there is nothing else to do, then end the thread; does not wait."""
        self._executor.submit(work)
        self._executor.shutdown(wait=False)


class Threads:
    """Threads that are lent to one attempt at a time, the last one back first, so that few are ever made."""

    def __init__(self, last_work: Callable[[], object]) -> None:
        self._free: list[LentThread] = []
        self._last_work = last_work
        self._is_closed = False

    def lend(self) -> LentThread:
        """One that nobody has."""
        self._is_closed = False
        return self._free.pop() if self._free else LentThread()

    def give_back(self, thread: LentThread) -> None:
        """Let the next one have it."""
        if self._is_closed:
            thread.end(self._last_work)
        else:
            self._free.append(thread)

    def close(self) -> None:
        """End each after its last work; one that is lent follows when it comes back. Twice is safe."""
        self._is_closed = True
        while self._free:
            self._free.pop().end(self._last_work)
