"""How does a process run that only publishes what applications staged in a store?"""

from __future__ import annotations

from collections.abc import Mapping

from antiphon.events.clock import SystemClock
from antiphon.outbox.due import is_on
from antiphon.outbox.relay import Relay
from antiphon.runtime.sending import Sending
from antiphon.runtime.service import Service
from antiphon.runtime.settings import Settings
from antiphon.runtime.topics import TopicMaker
from antiphon.storage.outboxes import OutboxTable

NAME = "relay"


def relay_service(store: str, settings: Settings, outbox: OutboxTable | None = None) -> Service:
    """A service without handlers on this store: it publishes what rests in its outbox, and what falls due there.

    `outbox` is another one than Antiphon's own. Any number of processes may run it at once. Raises SettingsError for a
    URL that is none.
    """
    if outbox is not None:
        return Service(NAME, store=store, outbox=outbox)
    service = Service(NAME, store=store)
    service.carry(_RelayOfLog(service, settings))
    return service


class _RelayOfLog:
    """A `Runner` for a store that is the broker's own, in which services publish directly and carry no relay."""

    name = NAME

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service, self._settings = service, settings
        self._relay: Relay | None = None

    async def start(self) -> None:
        """As `Runner.start`."""
        service = self._service
        is_needed: bool = is_on(service.broker, service.store)
        if not is_needed:
            return
        sending = Sending(service.name, service.broker, service.metrics, service.hooks)
        publish = TopicMaker(service.broker, self._settings).publish
        self._relay = Relay(publish, service.store, SystemClock(), service.metrics, sending)
        await self._relay.start()

    async def drain(self) -> None:
        """As `Runner.drain`."""
        if self._relay is not None:
            await self._relay.drain()

    def status(self) -> Mapping[str, str | int | float | bool]:
        """As `Runner.status`."""
        return {} if self._relay is None else self._relay.status()
