"""The one blocking helper, for scripts and notebooks."""

from __future__ import annotations

import asyncio

from antiphon.brokers.connect import connect
from antiphon.errors import UsageError
from antiphon.events.clock import SystemClock
from antiphon.runtime.compose import Composer
from antiphon.runtime.settings import load_settings
from antiphon.runtime.topics import make_topics


def publish_blocking(*events: object, broker: str | None = None, source: str = "script") -> None:
    """Publish `events` in one batch and return once the broker holds them all.

    `broker` is a URL (settings decide without it); `source` names who publishes. Raises UsageError inside a running
    event loop (await `Service.publish` there), PublishError, ConnectionLostError, StoreError.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(_publish(events, broker, source))
    else:
        raise UsageError("publish_blocking() inside an event loop would stop it: await Service.publish() instead")


async def _publish(events: tuple[object, ...], url: str | None, source: str) -> None:
    settings = load_settings({"broker": url})
    broker = connect(settings.broker)
    composer = Composer(source, SystemClock())
    outgoing = [composer.first(event) for event in events]
    await broker.open()
    try:
        await make_topics(broker, (one.topic for one in outgoing), settings)
        await broker.publish(outgoing)
    finally:
        await broker.close()
