"""Every failure of the driver becomes an error of ours that says what was tried, on what, and how to mend it."""

import errno
import sqlite3

import pytest

from antiphon.errors import (
    ConstraintError,
    StatementError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnavailableError,
)
from antiphon.storage.sqlite.errors import explain, explain_os, is_busy


def failure(name):
    error = sqlite3.OperationalError("as the driver says it")
    error.sqlite_errorcode = getattr(sqlite3, name)
    return error


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SQLITE_FULL", StoreFullError),
        ("SQLITE_IOERR_WRITE", StoreFullError),
        ("SQLITE_IOERR_TRUNCATE", StoreFullError),
        ("SQLITE_IOERR_SHMSIZE", StoreFullError),
        ("SQLITE_IOERR_READ", StoreError),
        ("SQLITE_IOERR_FSYNC", StoreError),
        ("SQLITE_IOERR_CORRUPTFS", StoreCorruptError),
        ("SQLITE_CORRUPT", StoreCorruptError),
        ("SQLITE_CORRUPT_INDEX", StoreCorruptError),
        ("SQLITE_NOTADB", StoreCorruptError),
        ("SQLITE_READONLY", StoreReadOnlyError),
        ("SQLITE_READONLY_DIRECTORY", StoreReadOnlyError),
        ("SQLITE_CANTOPEN", StoreReadOnlyError),
        ("SQLITE_PERM", StoreReadOnlyError),
        ("SQLITE_BUSY", StoreUnavailableError),
        ("SQLITE_BUSY_RECOVERY", StoreUnavailableError),
        ("SQLITE_LOCKED", StoreUnavailableError),
        ("SQLITE_CONSTRAINT_UNIQUE", ConstraintError),
        ("SQLITE_CONSTRAINT_FOREIGNKEY", ConstraintError),
        ("SQLITE_ERROR", StatementError),
        ("SQLITE_TOOBIG", StatementError),
        ("SQLITE_MISMATCH", StatementError),
        ("SQLITE_NOMEM", StoreError),
    ],
)
def test_each_code_has_its_class(name, expected):
    explained = explain(failure(name), "/data/log.db", "commit")
    assert type(explained) is expected
    assert str(explained).startswith("/data/log.db: cannot commit: as the driver says it")


def test_an_error_without_a_code_is_the_statements():
    assert type(explain(OverflowError("too large"), "/data/log.db", "run it")) is StatementError


@pytest.mark.parametrize(
    ("name", "expected"), [("SQLITE_BUSY_SNAPSHOT", True), ("SQLITE_LOCKED", True), ("SQLITE_FULL", False)]
)
def test_only_locks_are_worth_waiting_for(name, expected):
    assert is_busy(failure(name)) is expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, StoreFullError),
        (errno.EDQUOT, StoreFullError),
        (errno.EACCES, StoreReadOnlyError),
        (errno.EROFS, StoreReadOnlyError),
        (errno.ENOTDIR, StoreReadOnlyError),
    ],
)
def test_the_systems_errors_have_theirs(number, expected):
    explained = explain_os(OSError(number, "why", "/data"), "/data/log.db", "make its folder")
    assert type(explained) is expected
    assert str(explained).startswith("/data/log.db: cannot make its folder: why (/data)")
