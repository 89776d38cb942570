"""Runs a suite without pytest, and tells for each promise whether it was kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import TypeVar

import pytest

_Suite = TypeVar("_Suite")
_Subject = TypeVar("_Subject")
Opened = Callable[[_Suite], AbstractAsyncContextManager[_Subject]]
"""Gives an open broker or store for one promise, and closes it; the suite it is given is the one that judges."""
_LONGEST = timedelta(seconds=30)


def promises(suite: type[object]) -> list[str]:
    """The names of what `suite` promises."""
    return sorted(name for name in dir(suite) if name.startswith("test_"))


async def broken_promises(
    suite: type[_Suite], opened: Opened[_Suite, _Subject], *, only: Collection[str] | None = None
) -> dict[str, BaseException]:
    """Try the promises of `suite`, each on a broker or store of its own; returns those that failed, and why."""
    broken: dict[str, BaseException] = {}
    for name in promises(suite) if only is None else only:
        judge = suite()
        try:
            async with opened(judge) as subject:
                promise: Callable[[_Subject], Awaitable[None]] = getattr(judge, name)
                await asyncio.wait_for(promise(subject), _LONGEST.total_seconds())
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  whatever it raises, it did not keep it
            broken[name] = error
    return broken
