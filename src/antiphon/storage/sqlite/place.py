"""Where does a SQLite database lie: in a named file, or in one that lives as long as the program wants?"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from os import PathLike
from pathlib import Path

from antiphon.storage.sqlite.errors import explain_os

MEMORY = ":memory:"


class Place:
    """A named file; or, for ":memory:", one of its own in the system's temporary folder, removed in the end."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.in_memory = str(path) == MEMORY
        self.name = MEMORY if self.in_memory else str(Path(path).absolute())
        self._temporary: weakref.finalize[..., Place] | None = None

    def make(self) -> str:
        """Make the folder when it is missing; returns the file's path. Raises StoreReadOnlyError, StoreFullError."""
        try:
            if self.in_memory:
                folder = tempfile.mkdtemp(prefix="antiphon-")
                self._temporary = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
                return str(Path(folder, "memory.db"))
            Path(self.name).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain_os(error, self.name, "make its folder") from error
        return self.name

    def remove(self) -> None:
        """Remove what nobody named. Twice is safe."""
        if self._temporary is not None:
            self._temporary()
