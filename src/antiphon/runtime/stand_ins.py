"""What a test puts in the place of the world: time, dependencies, and how details are fetched."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from antiphon.errors import DeclarationError
from antiphon.events.clock import Clock, SystemClock
from antiphon.events.declare import declaration_of
from antiphon.runtime.declared import Declared, EventName
from antiphon.runtime.route import Fetcher

_NOTHING: Mapping[type, object] = MappingProxyType({})
_NO_FETCHERS: Mapping[type, Fetcher] = MappingProxyType({})


class StandIns(Struct, frozen=True, kw_only=True):
    """For one run of a service: a clock, values for types that it provides, and other fetchers by their event."""

    clock: Clock = SystemClock()
    provided: Mapping[type, object] = _NOTHING
    fetchers: Mapping[type, Fetcher] = _NO_FETCHERS

    def check(self, declared: Declared) -> None:
        """Raise DeclarationError for one that stands in for nothing."""
        for kind in self.provided:
            if kind not in declared.providers:
                raise DeclarationError(
                    f"service {declared.service!r} provides no {kind.__name__}, so nothing can stand in for it"
                )
        for event in self.fetchers:
            if declared.fetching(event) is None:
                raise DeclarationError(
                    f"service {declared.service!r} declares no fetcher of {event.__name__}, so nothing can stand in "
                    "for it"
                )

    def fetcher(self, event: type) -> Fetcher | None:
        """What fetches the details of this event instead, if anything."""
        return self._by_name().get(_name(event))

    def _by_name(self) -> dict[EventName, Fetcher]:
        return {_name(event): fetcher for event, fetcher in self.fetchers.items()}


def _name(event: type) -> EventName:
    declared = declaration_of(event)
    return declared.topic, declared.name
