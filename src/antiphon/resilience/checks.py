"""What the values of a declared policy may be, and what is said to anything else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from math import isfinite
from typing import cast

from antiphon.errors import DeclarationError


def check_count(where: str, name: str, value: object, least: int) -> None:
    """Raises DeclarationError unless `value` is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise DeclarationError(f"{where}({name}={value!r}): it is a whole number, as in {name}=3")
    if value < least:
        limit = f"it cannot be {'negative' if least == 0 else f'below {least}'}"
        raise DeclarationError(f"{where}({name}={value}): {limit}; the least is {name}={least}")


def check_duration(where: str, name: str, value: object) -> None:
    """Raises DeclarationError unless `value` is a timedelta above zero."""
    if not isinstance(value, timedelta):
        raise DeclarationError(f"{where}({name}={value!r}): it is a timedelta, as in {name}=timedelta(seconds=30)")
    if value <= timedelta():
        raise DeclarationError(
            f"{where}({name}={value!r}): it must be longer than nothing, as in {name}=timedelta(seconds=30)"
        )


def check_number(where: str, name: str, value: object) -> float:
    """`value` as a float. Raises DeclarationError unless it is a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise DeclarationError(f"{where}({name}={value!r}): it is a finite number, as in {name}=2.0")
    return float(value)


def check_share(where: str, name: str, value: object) -> None:
    """Raises DeclarationError unless `value` is above 0 and at most 1."""
    if not 0 < check_number(where, name, value) <= 1:
        raise DeclarationError(f"{where}({name}={value!r}): it is a share above 0 and up to 1, as in {name}=0.5")


def check_errors(where: str, lists: Mapping[str, object]) -> None:
    """Raises DeclarationError unless each of `lists` is a tuple of exception classes and none is in two of them."""
    seen: dict[object, str] = {}
    for name, listed in lists.items():
        if not isinstance(listed, tuple):
            raise DeclarationError(
                f"{where}({name}={listed!r}): it is a tuple of classes, as in {name}=(TimeoutError,)"
            )
        for each in cast("tuple[object, ...]", listed):
            if not isinstance(each, type) or not issubclass(each, BaseException):
                raise DeclarationError(f"{where}({name}=...): {each!r} is no exception class; take it out")
            if seen.setdefault(each, name) != name:
                raise DeclarationError(
                    f"{where}({seen[each]}=..., {name}=...): {each.__name__} is in both; leave it in one of them"
                )
