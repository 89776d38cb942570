"""How does an error speak that knows customers' data: what a statement was given, what a row holds?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress

_PARAMETERS = re.compile(r"^\[parameters: .*\]$", re.MULTILINE)
"""As SQLAlchemy ends what it says of a statement, also where another error quotes it."""
_OF_VALUES = ("22", "23", "44")
"""Classes of SQLSTATE about values: data, constraints, views' checks."""
_MOST = 100
"""Errors that one may have come from; causes may be a circle."""


def hide_values(error: BaseException) -> None:
    """Let an error, and those that it came from, say what failed without the values that it failed on.

    The errors themselves are changed, so that whoever tells of them later, in whatever form, tells no values. Only
    what databases' libraries say is known here. Twice is safe, and cheap.
    """
    with suppress(Exception):  # an error of the user's own may raise another one at whatever it is asked
        _hide(list(_chain(error)))


def without_values(state: str, detail: str) -> str:
    """A server's detail of an error of that SQLSTATE, without what a row holds; empty where nothing else is in it."""
    if not state.startswith(_OF_VALUES):
        return detail
    key, found, rest = detail.partition(")=(")
    return f"{key}){rest.rpartition(')')[2]}" if found else ""


def _hide(errors: Sequence[BaseException]) -> None:
    for each in errors:
        if hasattr(each, "hide_parameters"):
            vars(each)["hide_parameters"] = True
    details = {detail: told for each in errors for detail, told in _details(each)}
    for each in errors:
        args = tuple(_without(arg, details) if isinstance(arg, str) else arg for arg in each.args)
        if args != each.args:
            each.args = args


def _without(text: str, details: dict[str, str]) -> str:
    for detail, told in details.items():
        text = text.replace(detail, told)
    return _PARAMETERS.sub("[parameters hidden]", text) if "[parameters: " in text else text


def _chain(error: BaseException) -> Iterator[BaseException]:
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < _MOST:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        parts: tuple[object, ...] = getattr(each, "exceptions", ())  # of a group
        nearby = (each.__cause__, each.__context__, getattr(each, "orig", None), *parts)
        waiting += [one for one in nearby if isinstance(one, BaseException)]


def _details(error: BaseException) -> Iterator[tuple[str, str]]:
    """What a server said about a row, and what may be told of that."""
    state: object = getattr(error, "sqlstate", None)
    if not isinstance(state, str):
        return
    for place, name in ((getattr(error, "diag", None), "message_detail"), (error, "detail")):
        detail: object = getattr(place, name, None)
        if isinstance(detail, str) and detail and (told := without_values(state, detail)) != detail:
            yield detail, told
            with suppress(AttributeError):  # where it is no answer of the server but the driver's own text
                setattr(place, name, told)
