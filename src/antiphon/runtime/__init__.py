"""How one service lives: declared, compiled at start, run, drained.

The names are loaded when they are first asked for: whoever reads settings does not load all the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from antiphon.runtime.host import run, run_async
    from antiphon.runtime.publisher import Publisher
    from antiphon.runtime.replica import Replica
    from antiphon.runtime.service import Service

__all__ = ["Publisher", "Replica", "Service", "run", "run_async"]

_MODULES = {"Publisher": "publisher", "Replica": "replica", "Service": "service", "run": "host", "run_async": "host"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'antiphon.runtime' has no attribute {name!r}")
    return getattr(import_module(f"antiphon.runtime.{_MODULES[name]}"), name)
