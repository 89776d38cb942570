"""Which of our errors does a driver's exception mean, when another library has wrapped it?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from antiphon.errors import StoreError
from antiphon.events.discretion import hide_values
from antiphon.storage.dialects import Dialect

_EXPLAINERS: Mapping[Dialect, str] = {
    "sqlite": "antiphon.storage.sqlite.errors",
    "postgres": "antiphon.storage.postgres.errors",
}
_DRIVERS_OWN = ("sqlite_errorcode", "sqlstate")
"""What an exception has that a driver raised, and no library around it."""


def explain_wrapped(dialect: Dialect, error: Exception, name: str, tried: str) -> StoreError:
    """Our error for a library's, by the driver's in it; raise it `from` the library's."""
    hide_values(error)
    inner = drivers_own(error)
    if inner is not None:
        try:
            explain: Callable[[Exception, str, str], StoreError] = import_module(_EXPLAINERS[dialect]).explain
        except ImportError:
            pass  # the library has another driver than our own store would need
        else:
            return explain(inner, name, tried)
    return StoreError(f"{name}: cannot {tried}: {' '.join(str(error).split())}")


def drivers_own(error: BaseException) -> Exception | None:
    """The driver's exception in this one, if there is any: itself, or what it wraps."""
    seen: BaseException | None = error
    for _ in range(8):  # wrappers of wrappers are few, and causes may be a circle
        if isinstance(seen, Exception) and any(hasattr(seen, name) for name in _DRIVERS_OWN):
            return seen
        if seen is None:
            return None
        orig: object = getattr(seen, "orig", None)
        seen = orig if isinstance(orig, BaseException) else seen.__cause__
    return None
