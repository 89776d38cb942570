"""A cluster with nothing in it, for tests whose topics and groups have the same names."""

from __future__ import annotations

import asyncio

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient


async def empty(server: str) -> None:
    """Delete all topics and groups. Members of earlier tests that never said goodbye are waited for."""
    admin = AdminClient({"bootstrap.servers": server})
    topics = [name for name in admin.list_topics(timeout=20).topics if not name.startswith("__")]
    if topics:
        await asyncio.gather(*map(asyncio.wrap_future, admin.delete_topics(topics).values()))
    left = True
    while left:
        found = await asyncio.wrap_future(admin.list_consumer_groups())
        groups = [each.group_id for each in found.valid]
        answers = (
            [asyncio.wrap_future(each) for each in admin.delete_consumer_groups(groups).values()] if groups else []
        )
        left = False
        for error in await asyncio.gather(*answers, return_exceptions=True):
            if isinstance(error, KafkaException) and error.args[0].code() == KafkaError.NON_EMPTY_GROUP:
                left = True
                await asyncio.sleep(0.2)
