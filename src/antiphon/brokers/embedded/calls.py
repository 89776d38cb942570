"""How does one process wake the readers in others, at once and without a server?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

_SUFFIX = ".call"
_SETTLED = 0.05
"""Seconds after which a folder's time of change tells of every later change; it is coarse on many systems."""


class Calls:
    """A named pipe for each process that listens, in a folder beside the file; one byte in it is a call.

    Calls are hints: a lost one costs time, never a message, since readers look from time to time anyway. Where
    there are no named pipes, nobody is called.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if sys.platform == "win32" else folder
        self._own: Path | None = None
        self._descriptor = -1
        self._others: dict[str, int] = {}
        self._seen_change = -1

    @property
    def is_heard(self) -> bool:
        """Whether calls of other processes reach this one."""
        return self._descriptor >= 0

    def listen(self, on_call: Callable[[], None]) -> None:
        """Run `on_call` in this event loop at every call from now on. Where that cannot be, it does nothing."""
        if self._folder is None or self.is_heard:
            return
        token = uuid4().hex
        hidden, own = self._folder / f".{token}", self._folder / (token + _SUFFIX)
        try:
            self._folder.mkdir(exist_ok=True)
            os.mkfifo(hidden, 0o644)
            # Held for writing, too: else it would read as ended whenever the last caller is gone.
            self._descriptor = os.open(hidden, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            # It is seen only once it is read, so that a caller who finds no reader knows that it is dead.
            hidden.rename(own)
        except OSError:
            self.close()
            return
        self._own = own
        asyncio.get_running_loop().add_reader(self._descriptor, self._answer, on_call)

    def call(self) -> None:
        """Wake every other process that listens. Never waits, never raises."""
        if self._folder is None:
            return
        self._look_around(self._folder)
        for name, descriptor in list(self._others.items()):
            try:
                os.write(descriptor, b"!")
            except BlockingIOError:
                pass  # it has calls enough to read
            except OSError:
                self._forget(name)

    def close(self) -> None:
        """Listen no more and forget the others. Twice is safe."""
        if self._descriptor >= 0:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        if self._own is not None:
            self._own.unlink(missing_ok=True)
            self._own = None
        for name in list(self._others):
            self._forget(name)
        self._seen_change = -1

    def _answer(self, on_call: Callable[[], None]) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 4096)
        on_call()

    def _look_around(self, folder: Path) -> None:
        """Learn who listens, when the folder changed since the last look."""
        try:
            changed = folder.stat().st_mtime_ns
            if changed == self._seen_change:
                return
            names = {name for name in os.listdir(folder) if name.endswith(_SUFFIX)}  # noqa: PTH208 - only names
        except OSError:
            return
        self._seen_change = changed if time.time() - changed / 1e9 > _SETTLED else -1
        for name in names - self._others.keys():
            if self._own is None or name != self._own.name:
                self._meet(folder / name)
        for name in self._others.keys() - names:
            self._forget(name)

    def _meet(self, pipe: Path) -> None:
        try:
            self._others[pipe.name] = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            # Nobody reads it: its process is dead.
            with contextlib.suppress(OSError):
                pipe.unlink()

    def _forget(self, name: str) -> None:
        os.close(self._others.pop(name))
