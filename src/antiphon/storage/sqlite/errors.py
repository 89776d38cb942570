"""Which of our errors does an exception of the SQLite driver mean?"""

from __future__ import annotations

import errno

from antiphon.errors import (
    ConstraintError,
    StatementError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnavailableError,
)

_IO_FAILED = 10
_BUSY, _LOCKED = 5, 6
BUSY_CODES = frozenset({_BUSY, _LOCKED})

# Primary result codes of SQLite (https://sqlite.org/rescode.html) whose meaning is more than "it failed".
_MEANINGS: dict[int, tuple[type[StoreError], str]] = {
    _BUSY: (StoreUnavailableError, "another program holds the lock; end it (an open sqlite3 shell?) or try again"),
    _LOCKED: (StoreUnavailableError, "another statement holds a lock on this table; try again"),
    3: (StoreReadOnlyError, "access was denied; check the permissions of the file and its folder"),
    8: (StoreReadOnlyError, "it cannot be written; make the file and its folder writable, or use another path"),
    11: (StoreCorruptError, "the file is damaged; restore a copy, or move it away to begin a new one"),
    13: (StoreFullError, "there is no room left; free some, and it goes on"),
    14: (StoreReadOnlyError, "it cannot be opened; check that the path names a file in a folder that can be written"),
    19: (ConstraintError, "the row breaks a rule of its table"),
    26: (StoreCorruptError, "the file is not a SQLite database; name another path, or move it away"),
}
_STATEMENT_CODES = frozenset({1, 18, 20, 25})

# Extended codes of a failed write. A limit on the size of files fails with EFBIG, which SQLite reports like this.
_IOERR_WRITE = _IO_FAILED | (3 << 8)
_IOERR_TRUNCATE = _IO_FAILED | (6 << 8)
_IOERR_SHMSIZE = _IO_FAILED | (19 << 8)
_IOERR_CORRUPTFS = _IO_FAILED | (33 << 8)
_WRITE_FAILURES = frozenset({_IOERR_WRITE, _IOERR_TRUNCATE, _IOERR_SHMSIZE})


def is_busy(error: Exception) -> bool:
    """Whether waiting and trying again may help."""
    return _code(error) & 0xFF in BUSY_CODES


def explain(error: Exception, path: str, tried: str) -> StoreError:
    """Our error for the driver's, saying what was tried on which file; raise it `from` the driver's."""
    code = _code(error)
    kind, hint = _meaning(code)
    return kind(f"{path}: cannot {tried}: {error}" + (f": {hint}" if hint else ""))


def explain_os(error: OSError, path: str, tried: str) -> StoreError:
    """Our error for one of the operating system's, met while making the folder or the files beside the database."""
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        kind, hint = _MEANINGS[13]
    else:
        kind, hint = _MEANINGS[14]
    return kind(f"{path}: cannot {tried}: {error.strerror or error} ({error.filename}): {hint}")


def _code(error: Exception) -> int:
    code = getattr(error, "sqlite_errorcode", None)
    return code if isinstance(code, int) else 1


def _meaning(code: int) -> tuple[type[StoreError], str]:
    if code in _WRITE_FAILURES:
        return StoreFullError, "a write failed: no room, a limit on the size of files, or a failing disk"
    if code == _IOERR_CORRUPTFS:
        return _MEANINGS[11]
    if code & 0xFF in _STATEMENT_CODES:
        return StatementError, ""
    return _MEANINGS.get(code & 0xFF, (StoreError, ""))
