"""How often does SQLite make the disk hold what it wrote, and in which file?

A virtual file system of SQLite's own C interface is put in front of the usual one: each file that is opened gets a
copy of its table of methods in which `xSync` counts before it does the same as ever. Nothing is compiled, and only
the public interface is used (https://sqlite.org/c3ref/io_methods.html).
"""

from __future__ import annotations

import _sqlite3
import ctypes
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_void_p
from pathlib import Path

_Sync = CFUNCTYPE(c_int, c_void_p, c_int)
_Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))
"""The path stays a pointer: SQLite keeps it, and what Python makes of a text is gone after the call."""


class _Methods(Structure):
    """`sqlite3_io_methods`, version 3."""

    _fields_ = (
        ("iVersion", c_int),
        *((name, c_void_p) for name in ("xClose", "xRead", "xWrite", "xTruncate")),
        ("xSync", _Sync),
        *((f"other{number}", c_void_p) for number in range(13)),
    )


class _File(Structure):
    """`sqlite3_file`: what follows the pointer is the file system's own."""

    _fields_ = (("pMethods", POINTER(_Methods)),)


class _FileSystem(Structure):
    """`sqlite3_vfs`, version 3."""

    _fields_ = (
        ("iVersion", c_int),
        ("szOsFile", c_int),
        ("mxPathname", c_int),
        ("pNext", c_void_p),
        ("zName", c_char_p),
        ("pAppData", c_void_p),
        ("xOpen", _Open),
        *((f"other{number}", c_void_p) for number in range(17)),
    )


_kept: list[object] = []
"""Everything that C may still call or read: connections may outlive a test."""


def _library() -> ctypes.CDLL:
    """The SQLite that this Python uses. Fails, and says so, where it cannot be reached; nothing is passed over."""
    library = ctypes.CDLL(_sqlite3.__file__)
    try:
        library.sqlite3_vfs_find.restype = POINTER(_FileSystem)
        library.sqlite3_vfs_find.argtypes = [c_char_p]
        library.sqlite3_vfs_register.argtypes = [c_void_p, c_int]
    except AttributeError as error:
        raise AssertionError(
            f"the syncs cannot be counted here: {_sqlite3.__file__} hides the C functions of its SQLite ({error}); "
            "run the tests with a Python whose sqlite3 module is linked with SQLite's own library"
        ) from error
    return library


class Syncs:
    """How often each file was synced, by its name without the folder."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.opened: set[str] = set()

    def of_log(self, file: str = "log.db") -> int:
        """Those of the write-ahead log: what a commit waits for."""
        return self.count[f"{file}-wal"]

    def _file_system(self, usual: _FileSystem) -> _FileSystem:
        """A copy of `usual` whose files count."""
        mine = _FileSystem.from_buffer_copy(usual)
        mine.zName, mine.pNext = b"counting", None
        usual_open = usual.xOpen

        @_Open
        def open_and_count(vfs: int, path: int | None, file: int, flags: int, out: object) -> int:
            code: int = usual_open(vfs, path, file, flags, out)
            opened = _File.from_address(file)
            if opened.pMethods:
                opened.pMethods = ctypes.pointer(self._methods(opened.pMethods.contents, _text(path)))
            return code

        mine.xOpen = open_and_count
        _kept.append((mine, open_and_count))
        return mine

    def _methods(self, usual: _Methods, path: str) -> _Methods:
        name = Path(path).name
        self.opened.add(name)
        mine = _Methods.from_buffer_copy(usual)
        usual_sync = usual.xSync

        @_Sync
        def count_and_sync(file: int, flags: int) -> int:
            self.count[name] += 1
            code: int = usual_sync(file, flags)
            return code

        mine.xSync = count_and_sync
        _kept.append((mine, count_and_sync))
        return mine


def _text(path: int | None) -> str:
    return ctypes.string_at(path).decode() if path else ""


@contextmanager
def counted_syncs() -> Iterator[Syncs]:
    """Count the syncs of every file that SQLite opens in this process from now on, until the end."""
    library, syncs = _library(), Syncs()
    usual = library.sqlite3_vfs_find(None)
    mine = syncs._file_system(usual.contents)
    assert library.sqlite3_vfs_register(ctypes.byref(mine), 1) == 0
    try:
        yield syncs
    finally:
        library.sqlite3_vfs_register(usual, 1)
        library.sqlite3_vfs_unregister(ctypes.byref(mine))
