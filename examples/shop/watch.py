"""How far are the orders, while they flow? Reads only what was added since it looked last, so looking is cheap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from antiphon.brokers.ports import Broker
from antiphon.storage.dialects import PortableSql
from examples.shop.processes import SERVICES
from examples.shop.stores import Stores

ENDS = ("shipped", "declined", "out of stock", "cancelled")

_NEWS = {
    "orders": PortableSql.of(
        "select rowid, state from orders_states where rowid > ? order by rowid",
        {
            "postgres": """
            select written, state from orders_states
            where written > ? and written < pg_snapshot_xmin(pg_current_snapshot())::text::bigint order by written
            """
        },
    ),
    "payments": PortableSql.of(
        "select rowid, entry from payments_ledger where rowid > ? order by rowid",
        {
            "postgres": """
            select written, entry from payments_ledger
            where written > ? and written < pg_snapshot_xmin(pg_current_snapshot())::text::bigint order by written
            """
        },
    ),
}
"""On PostgreSQL several write at once: only what is older than the oldest open transaction is there for certain."""


class Watch:
    """Counts the states that orders have entered and the payments booked, by looking now and then."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._seen = dict.fromkeys(_NEWS, 0)
        self.states: Counter[str] = Counter()
        self.payments: Counter[str] = Counter()

    @property
    def ended(self) -> int:
        """Orders that reached a final state."""
        return sum(self.states[state] for state in ENDS)

    async def look(self) -> None:
        """Take what is new. Raises StoreError."""
        for name, counts in (("orders", self.states), ("payments", self.payments)):
            news = await self._stores.of(name).fetch(_NEWS[name], self._seen[name], row=tuple[int, str])
            if news:
                self._seen[name] = news[-1][0]
                counts.update(state for _, state in news)


class Lags:
    """How many messages each service has not handled yet, and whether all of them have come to rest."""

    def __init__(self, broker: Broker, stores: Stores | None = None) -> None:
        self._broker, self._stores = broker, stores
        self._last: Sequence[object] = ()
        self._was_done = False
        self.behind: Mapping[str, int] = {}

    async def look(self) -> bool:
        """Whether every service is there and has nothing left to do, twice in a row with nothing new in between."""
        # Asked between the two: what the first one found handled has left the outboxes by then, and the second sees it.
        at_rest = self._was_done and (self._stores is None or await self._stores.are_at_rest())
        found = {service: list(await self._broker.lag(service)) for service in SERVICES}
        self.behind = {service: sum(lag.messages for lag in lags) for service, lags in found.items()}
        ends = [(service, lag.partition, lag.end) for service, lags in found.items() for lag in lags]
        is_done = all(found.values()) and not any(self.behind.values())
        at_rest = at_rest and is_done and ends == self._last
        self._last, self._was_done = ends, is_done
        return at_rest
