"""How durations and sizes are written in settings, URLs and on the command line: `500ms`, `1h30m`, `64MB`, `1GiB`."""

from __future__ import annotations

import re
from datetime import timedelta

_DURATIONS = {
    "us": timedelta(microseconds=1),
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_SHOWN = {unit: length for unit, length in _DURATIONS.items() if unit != "w"}
_DECIMAL = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZES = {**_DECIMAL, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZES_LOWER = {unit.lower(): size for unit, size in _SIZES.items()}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d|w)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)


def duration(text: str) -> timedelta:
    """`7d`, `500ms` or `1h30m`. Raises ValueError saying how one is written."""
    stripped = text.strip()
    parts = _PART.findall(stripped)
    if not parts or _PART.sub("", stripped).strip():
        raise ValueError("a duration is a number and a unit of us, ms, s, m, h, d or w, as in 500ms, 30s or 1h30m")
    try:
        return sum((float(number) * _DURATIONS[unit] for number, unit in parts), timedelta())
    except OverflowError:
        raise ValueError("the longest duration is some 2,700,000 years") from None


def size(text: str) -> int:
    """`64MB` (millions) or `64MiB` (powers of two) in bytes. Raises ValueError saying how one is written."""
    match = _SIZE.fullmatch(text.strip())
    unit = _SIZES_LOWER.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"a size is a number and a unit of {', '.join(_SIZES)}, as in 64MB or 1GiB")
    return int(float(match[1]) * unit)


def show_duration(value: timedelta) -> str:
    """For people, in the two largest units up to days: `1h30m`, `500ms`, `0s`."""
    left, shown = value, list[str]()
    for unit, length in reversed(_SHOWN.items()):
        whole, rest = divmod(left, length)
        if whole > 0 and len(shown) < 2:
            shown.append(f"{whole}{unit}")
            left = rest
    return "".join(shown) or "0s"


def show_size(value: int) -> str:
    """For people: `1.5 MB`."""
    unit = next((unit for unit, length in reversed(_DECIMAL.items()) if value >= length > 1), None)
    return f"{value / _DECIMAL[unit]:.1f} {unit}" if unit else f"{value} B"
