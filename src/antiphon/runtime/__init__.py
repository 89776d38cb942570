"""How one service lives: declared, compiled at start, run, drained."""

from antiphon.runtime.host import run, run_async
from antiphon.runtime.publisher import Publisher
from antiphon.runtime.replica import Replica
from antiphon.runtime.service import Service

__all__ = ["Publisher", "Replica", "Service", "run", "run_async"]
