"""What is printed, and with which exit code a command ends, when it fails."""

from __future__ import annotations

import os
import sys
from enum import IntEnum

from antiphon.errors import (
    AntiphonError,
    ConnectionLostError,
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
    (StoreError, ExitCode.UNAVAILABLE),
    (AntiphonError, ExitCode.FAILURE),
)
_HINTS: tuple[tuple[type[AntiphonError], str], ...] = (
    (
        ConnectionLostError,
        "is the broker running? Its address is the first of --broker, ANTIPHON_BROKER, antiphon.toml",
    ),
    (StoreReadOnlyError, "another place can be named with --broker embedded:///PATH"),
    (StoreUnavailableError, "another process may hold it; try again"),
)
"""What only the command line knows; how to mend it otherwise is in the error's own text."""


def exit_code(error: AntiphonError) -> ExitCode:
    """The code of the first class that fits."""
    return next(code for kind, code in _CODES if isinstance(error, kind))


def report(error: AntiphonError) -> ExitCode:
    """Print the error as one line, and how to mend it, to standard error."""
    text = " ".join(str(error).split())
    print(f"error: {text}", file=sys.stderr)
    hint = next((hint for kind, hint in _HINTS if isinstance(error, kind)), "")
    if hint:
        print(f"hint:  {hint}", file=sys.stderr)
    return exit_code(error)


def hush() -> ExitCode:
    """Whoever read our output has gone, as `head` does; say nothing more, since that is no failure."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.OK
