"""Which rows does a CSV file hold, however broken it is, without ever holding more than one short line of it?"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from examples.shop.refusals import Reason, RefusedError, shown

LONGEST_LINE = 64 * 1024


class Row(NamedTuple):
    """The fields of one line, or why it has none."""

    line: int
    fields: list[str]
    problem: RefusedError | None = None


def read_rows(file: BinaryIO) -> Iterator[Row]:
    """Every line that is not blank, in order. Raises OSError when the file cannot be read."""
    for line, raw in enumerate(_lines(file), start=1):
        if raw.strip():
            yield _row(line, raw.removeprefix(b"\xef\xbb\xbf") if line == 1 else raw)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of at most LONGEST_LINE + 1 bytes; the rest of a longer one is read past, not kept."""
    while line := file.readline(LONGEST_LINE + 1):
        yield line
        while len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE + 1)


def _row(line: int, raw: bytes) -> Row:
    if len(raw) > LONGEST_LINE:
        return Row(line, [], RefusedError(Reason.LINE_TOO_LONG, f"more than {LONGEST_LINE} bytes"))
    try:
        return Row(line, _fields(raw.decode("utf-8")))
    except UnicodeDecodeError as error:
        place = f"byte 0x{raw[error.start]:02X} is not UTF-8"
        return Row(line, [], RefusedError(Reason.WRONG_ENCODING, place, f"number {_column_of(raw, error.start)}"))
    except csv.Error as error:
        return Row(line, [], RefusedError(Reason.OPEN_QUOTE, f"{error} in {shown(raw.decode().strip())}"))


def _fields(text: str) -> list[str]:
    fields = next(csv.reader([text], strict=True))
    return [field.strip() for field in fields]


def _column_of(raw: bytes, place: int) -> int:
    """The column that a byte stands in, counted from 1; exact where no field before it holds a quoted comma."""
    return raw.count(b",", 0, place) + 1
