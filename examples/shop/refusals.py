"""Why was a row not taken as an order, and how often did each reason come up?"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path

from msgspec import Struct


class Reason(StrEnum):
    """The reasons for refusing a row, as they are counted."""

    EMPTY_FILE = "empty file"
    UNKNOWN_HEADER = "unknown header"
    MISSING_COLUMN = "missing column"
    TOO_MANY_COLUMNS = "too many columns"
    WRONG_ENCODING = "wrong encoding"
    LINE_TOO_LONG = "line too long"
    OPEN_QUOTE = "quote not closed"
    NOT_A_NUMBER = "not a number"
    NEGATIVE = "negative number"
    ABSURD = "absurd number"
    NOTHING = "nothing to sell"
    BAD_DATE = "bad date"
    BAD_TEXT = "unusable text"
    RETURN = "return"
    NO_CUSTOMER = "no customer"
    DUPLICATE = "duplicate invoice"


class Refusal(Struct, frozen=True):
    """One refused row: where it stands, which column, why, and what was found there."""

    file: str
    line: int
    column: str
    reason: Reason
    found: str

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column else ""
        return f"{self.file}, line {self.line}{column}: {self.reason}: {self.found}"


class RefusedError(Exception):
    """A row, or one field of it, cannot be used; the reader turns it into a `Refusal`."""

    def __init__(self, reason: Reason, found: str, column: str = "") -> None:
        self.reason, self.found, self.column = reason, found, column
        super().__init__(f"{column}: {reason}: {found}")


class Refusals:
    """Counts every refusal by its reason, keeps the first few, and writes each to a file when given one."""

    def __init__(self, keep: int = 20, file: Path | None = None) -> None:
        self.counts: Counter[Reason] = Counter()
        self.first: list[Refusal] = []
        self._keep = keep
        self._file = file.open("w", encoding="utf-8") if file else None

    @property
    def total(self) -> int:
        return self.counts.total()

    def add(self, refusal: Refusal) -> None:
        self.counts[refusal.reason] += 1
        if len(self.first) < self._keep:
            self.first.append(refusal)
        if self._file:
            self._file.write(f"{refusal}\n")

    def close(self) -> None:
        """Close the file. Twice is safe."""
        if self._file:
            self._file.close()


def shown(value: str, limit: int = 40) -> str:
    """A found value as it can be printed: quoted, and cut when long."""
    return repr(value if len(value) <= limit else f"{value[:limit]}...")
