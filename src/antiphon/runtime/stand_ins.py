"""What a test puts in the place of the world: time, dependencies, and how details are fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from antiphon.events.clock import Clock, SystemClock
from antiphon.events.declare import declaration_of
from antiphon.runtime.chance import Chance
from antiphon.runtime.declared import Declared, EventName
from antiphon.runtime.route import Fetcher, Route

_NOTHING: Mapping[type, object] = MappingProxyType({})
_NO_FETCHERS: Mapping[type, Fetcher] = MappingProxyType({})


class StandIns(Struct, frozen=True, kw_only=True):
    """For one run of a service: a clock, values for types that it provides, and other fetchers by their event.

    `chance` is what it leaves to chance; `meddle` is shown each route before it is used, and may stand between it and
    its handler.
    """

    clock: Clock = SystemClock()
    provided: Mapping[type, object] = _NOTHING
    fetchers: Mapping[type, Fetcher] = _NO_FETCHERS
    chance: Chance = Chance()
    meddle: Callable[[Route], None] | None = None

    def part_for(self, declared: Declared) -> StandIns:
        """What of it stands in for something of this service."""
        provided = {kind: value for kind, value in self.provided.items() if kind in declared.providers}
        fetchers = {event: fetcher for event, fetcher in self.fetchers.items() if declared.fetching(event)}
        return replace(self, provided=provided, fetchers=fetchers)

    def fetcher(self, event: type) -> Fetcher | None:
        """What fetches the details of this event instead, if anything."""
        return self._by_name().get(_name(event))

    def _by_name(self) -> dict[EventName, Fetcher]:
        return {_name(event): fetcher for event, fetcher in self.fetchers.items()}


def _name(event: type) -> EventName:
    declared = declaration_of(event)
    return declared.topic, declared.name
