"""What is printed, and with which exit code a command ends, when it fails."""

from __future__ import annotations

import os
import sys
from enum import IntEnum

from antiphon.errors import (
    AccessDeniedError,
    AntiphonError,
    ConnectionLostError,
    StoreAccessError,
    StoreError,
    StoreReadOnlyError,
    StoreUnavailableError,
    UnknownTopicError,
    UsageError,
)


class ExitCode(IntEnum):
    """How a command ended; documented in docs/reference/cli.md."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130


_CODES: tuple[tuple[type[AntiphonError], ExitCode], ...] = (
    (UsageError, ExitCode.USAGE),
    (UnknownTopicError, ExitCode.USAGE),
    (ConnectionLostError, ExitCode.UNAVAILABLE),
    (AccessDeniedError, ExitCode.UNAVAILABLE),
    (StoreError, ExitCode.UNAVAILABLE),
    (AntiphonError, ExitCode.FAILURE),
)
_HINTS: tuple[tuple[type[AntiphonError], str], ...] = (
    (
        ConnectionLostError,
        "is the broker running? Its address is the first of --broker, ANTIPHON_BROKER, antiphon.toml",
    ),
)
_HINTS_ON_FILES: tuple[tuple[type[AntiphonError], str], ...] = (
    (StoreReadOnlyError, "another place can be named with --broker embedded:///PATH, or --store sqlite:///PATH"),
    (StoreUnavailableError, "another process may hold it; try again"),
)
_NO_SCHEMA = "the schema is not there"
"""What only the command line knows; how to mend it otherwise is in the error's own text."""


def exit_code(error: AntiphonError) -> ExitCode:
    """The code of the first class that fits."""
    return next(code for kind, code in _CODES if isinstance(error, kind))


def report(error: AntiphonError) -> ExitCode:
    """Print the error as one line, and how to mend it, to standard error."""
    text = " ".join(str(error).split())
    print(f"error: {text}", file=sys.stderr)
    hint = _hint(error, text)
    if hint:
        print(f"hint:  {hint}", file=sys.stderr)
    return exit_code(error)


def report_misuse(text: str, command: str | None) -> ExitCode:
    """Print what Typer says of options that it cannot use, as `report` prints an error."""
    text = " ".join(text.split()).rstrip(".")
    where = f"{command}: " if command else ""
    print(f"error: {where}{text[:1].lower()}{text[1:]}", file=sys.stderr)
    if command:
        print(f"hint:  {command} --help says how it is called", file=sys.stderr)
    return ExitCode.USAGE


def _hint(error: AntiphonError, text: str) -> str:
    """What fits the error and the place that it names: nobody holds a server as one process holds a file."""
    if isinstance(error, StoreAccessError) and _NO_SCHEMA in text:
        return "or it is there, and this user may not use it: grant usage on schema ... to ..."
    fitting = _HINTS if text.startswith("postgresql://") else (*_HINTS, *_HINTS_ON_FILES)
    return next((hint for kind, hint in fitting if isinstance(error, kind)), "")


def hush() -> ExitCode:
    """Whoever read our output has gone, as `head` does; say nothing more, since that is no failure."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.OK
