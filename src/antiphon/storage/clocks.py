"""What time is it, for everybody who shares a store?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from antiphon.storage.database import Database
from antiphon.storage.queries import load_queries
from antiphon.storage.set_aside import moment

_SQL = load_queries("antiphon.storage", "sql/clock.sql")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


async def store_time(store: Database, own: datetime) -> datetime:
    """The store's time; `own` is that of this process, which is taken where all share one clock. Raises StoreError."""
    ((now,),) = await store.fetch(_SQL["now"], moment(own))
    assert isinstance(now, int)
    return _EPOCH + now * _TICK
