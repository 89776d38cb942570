"""How results are printed: tables for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """For people. Rich is imported here, since programs that ask for JSON never need it."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """One JSON value on one line. Flushed, since somebody may be waiting for it."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def seconds(duration: timedelta) -> float:
    """A duration in a JSON result."""
    return round(duration.total_seconds(), 3)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """A table without frame; the columns in `right` are numbers."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console().print(table)


def print_text(text: str) -> None:
    """Text for people. What others wrote may be in it, so control characters are left out on a terminal."""
    from rich.text import Text

    console().print(Text(text.rstrip("\n")))


def is_interactive() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirmed(question: str) -> bool:
    """Ask a person on standard error, so that the results on standard output stay clean; no is the default."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
