"""Which of several processes may write to a file now?"""

from __future__ import annotations

import os
import sys

from antiphon.storage.forks import forget_in_children

if sys.platform != "win32":
    import fcntl


class FileLock:
    """A lock that processes take in turn, beside the file it guards; the system frees it when its process dies.

    It is a turnstile of two locks: who wants the write lock first takes the place at its head and gives that
    place up once it has the lock. Whoever just released it must queue behind the one at the head, so a busy
    process cannot starve the others. Where the platform has no `flock`, every attempt succeeds and SQLite's own
    lock decides.
    """

    def __init__(self) -> None:
        self._lock = self._head = -1
        forget_in_children(self)

    def open(self, file: str) -> None:
        """Make the two files that lie beside `file`. Raises OSError."""
        if sys.platform == "win32":
            return
        self._lock, self._head = (_open(f"{file}.lock"), _open(f"{file}.next"))

    def forget(self) -> None:
        """As `Holder.forget`."""
        self.close()

    def close(self) -> None:
        """Give up everything. Twice is safe."""
        for descriptor in (self._lock, self._head):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self._head = -1

    def try_acquire(self) -> bool:
        """Take the lock if nobody holds it and nobody waits for it; never waits."""
        if not self._try_flock(self._head):
            return False
        acquired = self._try_flock(self._lock)
        self._unlock(self._head)
        return acquired

    def acquire(self) -> None:
        """Wait in the calling thread until the lock is ours."""
        if sys.platform == "win32":
            return
        fcntl.flock(self._head, fcntl.LOCK_EX)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._unlock(self._head)

    def release(self) -> None:
        """Let the next one in. Any thread may call it; twice is safe."""
        self._unlock(self._lock)

    def _try_flock(self, descriptor: int) -> bool:
        if sys.platform == "win32":
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(self, descriptor: int) -> None:
        if sys.platform != "win32" and descriptor >= 0:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _open(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
