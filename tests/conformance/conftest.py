"""Which event loop a suite runs in: its own, where it lives in a time of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    factory = getattr(getattr(item, "cls", None), "loop_factory", asyncio.new_event_loop)
    return {factory.__name__: factory}
