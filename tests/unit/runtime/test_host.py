"""Several services of one process end together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from antiphon.brokers.memory import MemoryBroker
from antiphon.errors import AntiphonError
from antiphon.runtime.host import Host
from antiphon.runtime.service import Service
from antiphon.runtime.settings import ServiceSettings, Settings


class Waiting:
    """A runner that can only end while as many others end, too."""

    name = "waiting"

    def __init__(self, ending: asyncio.Barrier) -> None:
        self._ending = ending

    async def start(self) -> None: ...

    async def drain(self) -> None:
        await self._ending.wait()

    def status(self) -> Mapping[str, str]:
        return {}


class Stubborn(Service):
    """One that fails while it stops."""

    async def stop(self) -> None:
        await super().stop()
        raise AntiphonError(f"{self.name} does not want to")


async def test_services_stop_side_by_side() -> None:
    broker, ending = MemoryBroker(), asyncio.Barrier(3)
    services = [Service(name, broker=broker) for name in ("orders", "payments", "shipping")]
    for service in services:
        service.carry(Waiting(ending))
    host = Host(services, Settings(common=ServiceSettings(broker="memory:")))
    async with asyncio.timeout(10):
        await host.run(started=host.stop)
    assert {service.health.state for service in services} == {"stopped"}


async def test_one_that_fails_to_stop_keeps_no_other_from_stopping() -> None:
    broker = MemoryBroker()
    services = [Stubborn("orders", broker=broker), Service("payments", broker=broker), Stubborn("tax", broker=broker)]
    host = Host(services, Settings(common=ServiceSettings(broker="memory:")))
    with pytest.raises(AntiphonError, match="orders does not want to"):
        await host.run(started=host.stop)
    assert {service.health.state for service in services} == {"stopped"}
