"""How do other processes learn at once that a member of a group has died?"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection
from pathlib import Path
from uuid import uuid4

from antiphon.storage.forks import forget_in_children

if sys.platform != "win32":
    import fcntl

_TOKEN = re.compile("[0-9a-f]{32}")


class LifeLine:
    """A lock that a member holds on a file of its own for as long as its process lives.

    The system frees it when the process dies, however it dies; whoever then gets the lock knows. It says nothing
    about a process that hangs. Without a folder, or where the platform has no `flock`, nobody is known to be dead.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._descriptor = -1
        self.token = uuid4().hex
        forget_in_children(self)

    def hold(self) -> None:
        """Take the lock. Raises OSError."""
        if self._folder is None or sys.platform == "win32":
            return
        self._folder.mkdir(exist_ok=True)
        hidden = self._folder / f".{self.token}"
        self._descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It is seen only once it is held, so that nobody takes a newcomer for dead.
        hidden.rename(self._folder / self.token)

    def drop(self) -> None:
        """Give the lock up and remove the file. Twice is safe."""
        if self._folder is not None and self._descriptor >= 0:
            self.forget()
            bury(self._folder, self.token)

    def forget(self) -> None:
        """As `Holder.forget`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Duty:
    """Work that one process of all on a file does, until it ends; then another takes over."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._folder, self._name = folder, name
        self._descriptor = -1
        forget_in_children(self)

    def is_ours(self) -> bool:
        """Take it on if nobody has it. Never waits. Raises nothing: who cannot make the file leaves it to others."""
        if self._folder is None or sys.platform == "win32" or self._descriptor >= 0:
            return True
        try:
            self._folder.mkdir(exist_ok=True)
            descriptor = os.open(self._folder / self._name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def drop(self) -> None:
        """Leave it to another. Twice is safe."""
        self.forget()

    def forget(self) -> None:
        """As `Holder.forget`."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_dead(folder: Path | None, token: str) -> bool:
    """Whether the process that held this token's lock has ended. A missing file proves nothing."""
    if folder is None or sys.platform == "win32":
        return False
    try:
        descriptor = os.open(folder / token, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def sweep(folder: Path | None, members: Collection[str]) -> None:
    """Remove the files of dead processes that are members no more."""
    if folder is None or not folder.is_dir():
        return
    for file in folder.iterdir():
        if _TOKEN.fullmatch(file.name) and file.name not in members and is_dead(folder, file.name):
            bury(folder, file.name)


def bury(folder: Path | None, token: str) -> None:
    """Remove the file of a member that is gone. Twice is safe."""
    if folder is not None:
        (folder / token).unlink(missing_ok=True)
