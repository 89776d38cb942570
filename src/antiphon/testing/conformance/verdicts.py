"""Runs a suite without pytest, and tells for each promise whether it was kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import TypeVar

import pytest

from antiphon.brokers.ports import Broker
from antiphon.testing.conformance.suite import BrokerSuite

_Suite = TypeVar("_Suite", bound=BrokerSuite)
Opened = Callable[[_Suite], AbstractAsyncContextManager[Broker]]
"""Gives an open broker for one promise, and closes it; the suite it is given is the one that judges."""
_LONGEST = timedelta(seconds=30)


def promises(suite: type[BrokerSuite]) -> list[str]:
    """The names of what `suite` promises."""
    return sorted(name for name in dir(suite) if name.startswith("test_"))


async def broken_promises(
    suite: type[_Suite], opened: Opened[_Suite], *, only: Collection[str] | None = None
) -> dict[str, BaseException]:
    """Try the promises of `suite`, each on a broker of its own; returns those that failed, and why."""
    broken: dict[str, BaseException] = {}
    for name in promises(suite) if only is None else only:
        judge = suite()
        try:
            async with opened(judge) as broker:
                promise: Callable[[Broker], Awaitable[None]] = getattr(judge, name)
                await asyncio.wait_for(promise(broker), _LONGEST.total_seconds())
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  whatever it raises, it did not keep it
            broken[name] = error
    return broken
