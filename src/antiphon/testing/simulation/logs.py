"""How is a simulation kept from filling the log with failures that nobody has to look at?"""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager

_NAMES = ("antiphon", "asyncio")


@contextmanager
def quiet() -> Generator[None]:
    """Leave out what is logged in this thread, by Antiphon and by its event loop. Other threads are not concerned."""
    loggers = [logging.getLogger(), *map(logging.getLogger, _NAMES)]
    handlers = [handler for logger in loggers for handler in logger.handlers]
    if logging.lastResort is not None:
        handlers.append(logging.lastResort)
    others = _Others(threading.get_ident())
    for handler in handlers:
        handler.addFilter(others)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(others)


class _Others(logging.Filter):
    """Lets through what other threads log, and what is neither Antiphon's nor the event loop's."""

    def __init__(self, thread: int) -> None:
        super().__init__()
        self._thread = thread

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread != self._thread or record.name.partition(".")[0] not in _NAMES
