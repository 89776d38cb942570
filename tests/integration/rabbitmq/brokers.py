"""Brokers on a real server that share nothing but the server, and leave nothing on it."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

from antiphon.brokers.connect import connect
from antiphon.brokers.rabbitmq import RabbitBroker, RabbitLogBroker
from antiphon.brokers.rabbitmq.codec import Positions
from antiphon.brokers.rabbitmq.driver import Lane, Link
from antiphon.brokers.rabbitmq.names import Names
from antiphon.brokers.rabbitmq.outlet import Outlet
from antiphon.brokers.rabbitmq.registry import Registry
from antiphon.brokers.rabbitmq.server import Server
from antiphon.events.ids import new_id


def a_prefix() -> str:
    """A word with which the names of one test begin."""
    return f"test{new_id()[-12:]}"


def a_broker(server: str, prefix: str, **options: str) -> RabbitBroker:
    """One whose names begin with that; not yet open."""
    broker = connect(f"{server}?{urlencode({'prefix': prefix, **options})}")
    assert isinstance(broker, RabbitBroker)
    return broker


def a_log(server: str, prefix: str, **options: str) -> RabbitLogBroker:
    """One whose topics are streams, as `a_broker`."""
    url = server.replace("rabbitmq:", "rabbitmq-streams:", 1)
    broker = connect(f"{url}?{urlencode({'prefix': prefix, **options})}")
    assert isinstance(broker, RabbitLogBroker)
    return broker


async def _nothing() -> None:
    """Nothing has to be restored here."""


async def remove(server: str, prefix: str) -> None:
    """Take everything of that prefix away from the server."""
    names, link = Names(prefix), Link(Server(server.replace("rabbitmq:", "amqp:", 1), server), _nothing)
    await link.open()
    try:
        registry = Registry(link, Outlet(link, Positions()), names)
        await registry.open()
        queues = [queue for _, _, queue in registry.queues(names)]
        queues += [each for group in registry.groups for each in (names.dead_letters(group), names.notes(group))]
        exchanges = [*map(names.topic, registry.topics), *map(names.group, registry.groups), names.dead]
        await registry.close()
        await asyncio.gather(
            *(link.do(lambda lane, q=queue: _delete_queue(lane, q)) for queue in [*queues, names.registry])
        )
        await asyncio.gather(*(link.do(lambda lane, e=each: lane.delete_exchange(e)) for each in exchanges))
    finally:
        await link.close()


async def remove_log(server: str, prefix: str) -> None:
    """Take all streams of that prefix away from the server: each costs it a process, for good."""
    names, link = Names(prefix), Link(Server(server.replace("rabbitmq:", "amqp:", 1), server), _nothing)
    await link.open()
    try:
        registry = Registry(link, Outlet(link, Positions()), names, names.log_registry)
        await registry.open()
        streams = [names.stream(topic, n) for topic, count in registry.topics.items() for n in range(count)]
        streams += [*map(names.course, registry.groups), names.log_registry]
        await registry.close()
        await asyncio.gather(*(link.do(lambda lane, s=stream: _delete_queue(lane, s)) for stream in streams))
    finally:
        await link.close()


async def _delete_queue(lane: Lane, queue: str) -> None:
    await lane.delete_queue(queue)
