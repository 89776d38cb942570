"""Where does a SQLite database lie: in a named file, or in one that lives as long as the program wants?"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path

from antiphon.errors import StoreError
from antiphon.storage.sqlite.errors import explain_os

MEMORY = ":memory:"


class Place:
    """A named file; or, for ":memory:", one of its own in the system's temporary folder, removed in the end."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.in_memory = str(path) == MEMORY
        self.name = MEMORY if self.in_memory else str(Path(path).absolute())
        self.file = self.name
        self._identity: tuple[int, int] | None = None
        self._temporary: weakref.finalize[..., Place] | None = None

    def make(self) -> None:
        """Make the folder when it is missing. Raises StoreReadOnlyError, StoreFullError."""
        try:
            if self.in_memory:
                folder = tempfile.mkdtemp(prefix="antiphon-")
                self._temporary = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
                self.file = str(Path(folder, "memory.db"))
            else:
                self.file = str(Path(self.name).resolve())  # all names of one file share the files beside it
                Path(self.file).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain_os(error, self.name, "make its folder") from error

    def is_there(self) -> bool:
        """Whether there is such a file; never, for ":memory:"."""
        return not self.in_memory and self._find() is not None

    def remember(self) -> None:
        """From now on this is the file; call it once it exists."""
        self._identity = self._find()

    def require_same(self) -> None:
        """Raise StoreError when the file was moved or deleted: what is written to it would be gone with it."""
        if not self.in_memory and self._find() != self._identity:
            raise StoreError(
                f"{self.name}: the file was moved, deleted or replaced while it was open: put it back, "
                "or restart to begin a new one"
            )

    def remove(self) -> None:
        """Remove what nobody named. Twice is safe."""
        if self._temporary is not None:
            self._temporary()

    def _find(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.file)  # noqa: PTH116 - a path object would cost as much as the call
        except OSError:
            return None
        return found.st_dev, found.st_ino
