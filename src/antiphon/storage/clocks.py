"""What time is it, for everybody who shares a store?"""

from __future__ import annotations

from datetime import datetime

from antiphon.storage.database import Database
from antiphon.storage.moments import moment, time_of
from antiphon.storage.queries import load_queries

_SQL = load_queries("antiphon.storage", "sql/clock.sql")


async def store_time(store: Database, own: datetime) -> datetime:
    """The store's time; `own` is that of this process, which is taken where all share one clock. Raises StoreError."""
    ((now,),) = await store.fetch(_SQL["now"], moment(own))
    assert isinstance(now, int)
    return time_of(now)
