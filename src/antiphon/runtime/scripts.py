"""The one blocking helper, for scripts and notebooks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Unpack

from antiphon.brokers.connect import connect
from antiphon.brokers.ports import Broker
from antiphon.errors import UsageError
from antiphon.events.clock import SystemClock
from antiphon.events.message import Outgoing
from antiphon.runtime.compose import Composer
from antiphon.runtime.scheduling import keep_at, schedule_of
from antiphon.runtime.settings import Settings, load_settings
from antiphon.runtime.stores import is_own_store, store_at
from antiphon.runtime.timing import When, read_timing
from antiphon.runtime.topics import make_topics


def publish_blocking(
    *events: object, broker: str | None = None, source: str = "script", **when: Unpack[When]
) -> Sequence[str]:
    """Publish `events` in one batch and return their messages' ids once the broker holds them all.

    With `at` or `delay` they are scheduled, and published by whichever service runs on that broker, and on the `store`
    of the settings, then. `broker` is a URL (settings decide without it); `source` names who publishes; `deadline` is
    until when they are worth handling.
    Raises UsageError inside a running event loop (await `Service.publish` there) and for a time that cannot be;
    PublishError, ConnectionLostError, StoreError.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        composer = Composer(source, SystemClock())
        moment, end = read_timing(composer.now(), **when)
        outgoing = [composer.first(event, deadline=end) for event in events]
        asyncio.run(_publish(outgoing, moment, load_settings({"broker": broker})))
        return [one.message.id for one in outgoing]
    raise UsageError("publish_blocking() inside an event loop would stop it: await Service.publish() instead")


async def _publish(outgoing: Sequence[Outgoing], at: datetime | None, settings: Settings) -> None:
    broker = connect(settings.broker)
    await broker.open()
    try:
        await make_topics(broker, (one.topic for one in outgoing), settings)
        if at is None:
            await broker.publish(outgoing)
        else:
            await _keep(broker, settings.common.store, outgoing, at)
    finally:
        await broker.close()


async def _keep(broker: Broker, url: str | None, outgoing: Sequence[Outgoing], at: datetime) -> None:
    store = schedule_of(broker) if url is None else store_at(url, broker)
    if is_own_store(broker, store):
        await keep_at(store, outgoing, at)
        return
    await store.open()
    try:
        await keep_at(store, outgoing, at)
    finally:
        await store.close()
