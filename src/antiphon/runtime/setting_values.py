"""What each setting is called, what it may be, and what is said when it is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import cast

from antiphon.errors import SettingsError
from antiphon.events import amounts

PREFIX = "ANTIPHON_"
RESERVED = frozenset({"ANTIPHON_DATA"})
"""Variables with our prefix that are no settings."""

Reader = Callable[[object], object]
"""Takes what was written and gives the value. Raises ValueError that says what may be written."""
Readers = Mapping[str, Reader]


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("it must be a text that is not empty")
    return value.strip()


def _url(value: object) -> str:
    text = _text(value)
    if "://" not in text:
        raise ValueError("it must be a URL, as in embedded:///.antiphon/log.db or memory:///")
    return text


def _store(value: object) -> str:
    text = _text(value)
    if "://" not in text:
        raise ValueError("it must be a URL, as in sqlite:///payments.db")
    return text


def _group(value: object) -> str:
    text = _text(value)
    if text.startswith("@"):
        raise ValueError("it must not begin with '@', as the groups do that Antiphon itself has")
    return text


def _integer(value: object, least: int, most: int, meaning: str) -> int:
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise ValueError(f"it must be {meaning}")
    return number


def _count(value: object) -> int:
    return _integer(value, 1, 10**9, "a whole number of at least 1")


def _partitions(value: object) -> int:
    return _integer(value, 1, 10_000, "a whole number from 1 to 10000")


def _port(value: object) -> int:
    return _integer(value, 0, 65_535, "a port from 1 to 65535 (0 takes a free one)")


def _duration(value: object) -> timedelta:
    if not isinstance(value, str):
        raise ValueError('it must be a duration with its unit, as in "500ms", "30s" or "7d"')
    return amounts.duration(value)


def _size(value: object) -> int:
    if isinstance(value, str) and not value.strip().isdecimal():
        return amounts.size(value)
    return _integer(value, 1, 2**62, 'a size, as in "64MB", or a number of bytes')


def _names(value: object) -> tuple[str, ...]:
    written = value.split(",") if isinstance(value, str) else value
    if not isinstance(written, list | tuple):
        raise ValueError('it must be a list of names, as in ["payments", "orders.service"]')
    return tuple(_text(name) for name in cast("Iterable[object]", written))


_EVERY_SERVICE: Readers = {
    "broker": _url,
    "store": _store,
    "workers": _count,
    "inflight_messages": _count,
    "inflight_bytes": _size,
    "fetch_messages": _count,
    "concurrency": _count,
    "transaction_messages": _count,
    "transaction_time": _duration,
    "drain_timeout": _duration,
    "keep_marks": _duration,
    "stall_after": _duration,
    "code_version": _text,
}
TOP: Readers = MappingProxyType({**_EVERY_SERVICE, "modules": _names, "health": _port})
SERVICE: Readers = MappingProxyType({**_EVERY_SERVICE, "group": _group})
TOPIC: Readers = MappingProxyType({"partitions": _partitions, "keep_for": _duration, "keep_bytes": _size})
_HOMES = (("at the top", TOP), ("in [services.NAME]", SERVICE), ("in [topics.NAME]", TOPIC))


def _nearest(name: str, known: Iterable[str]) -> str:
    elsewhere = next((place for place, readers in _HOMES if name in readers), None)
    if elsewhere:
        return f"{name!r} belongs {elsewhere}"
    from difflib import get_close_matches  # only after a mistake: it would slow every start

    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}" if close else f"the settings here are {', '.join(sorted(known))}"


def read_table(
    table: Mapping[str, object], readers: Readers, source: str, prefix: str = "", also: tuple[str, ...] = ()
) -> dict[str, object]:
    """The values of a table, which may hold the tables `also`.

    Raises SettingsError for the first name that is no setting, with the nearest right one, and for the first
    value that cannot be used.
    """
    values: dict[str, object] = {}
    for name, written in table.items():
        if name not in readers:
            raise SettingsError(f"{source}: unknown setting {prefix + name!r}: {_nearest(name, (*readers, *also))}")
        values[name] = _value(readers[name], written, f"{source}: {prefix}{name} = {_without_secret(repr(written))}")
    return values


def read_environment(environment: Mapping[str, str]) -> dict[str, object]:
    """The settings among the variables: `ANTIPHON_BROKER` is `broker`. Raises SettingsError as `read_table` does."""
    values: dict[str, object] = {}
    for variable, written in environment.items():
        if not variable.startswith(PREFIX) or variable in RESERVED:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in TOP:
            known = [PREFIX + setting.upper() for setting in TOP]
            raise SettingsError(f"environment: unknown setting {variable}: {_nearest(variable, known)}")
        values[name] = _value(TOP[name], written, f"environment: {variable}={_without_secret(written)}")
    return values


def _without_secret(written: str) -> str:
    """The text without the password of a URL, or of what was meant to be one."""
    return re.sub(r":[^:/@]+@", ":***@", written)


def _value(reader: Reader, written: object, told: str) -> object:
    try:
        return reader(written)
    except ValueError as error:
        raise SettingsError(f"{told}: {error}") from error
