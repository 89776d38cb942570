"""What Kafka's own tools say of a running service is what it did: no more, no less, in every partition."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from antiphon.events.ids import new_id
from antiphon.events.message import Message, Outgoing
from antiphon.testing.servers import KafkaServer
from tests.integration.kafka.cluster import A_WHILE, messages, opened, outgoing

pytestmark = pytest.mark.timeout(120)
READ = "org.apache.kafka.tools.consumer.ConsoleConsumer"
GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


@pytest.fixture(scope="module")
def server():
    with KafkaServer() as server:
        yield server


async def tool(server, program, *arguments):
    return await asyncio.to_thread(server.run, program, "--bootstrap-server", server.address, *arguments)


async def test_the_console_consumer_reads_all_of_a_message(server):
    now = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    told = Message(
        new_id(),
        "OrderPlaced",
        now,
        '{"total":"12.30 £"}'.encode(),
        "key-ä",
        source="shop",
        schema_version=3,
        correlation_id="c-1",
        causation_id="c-0",
    )
    forgotten = Message(new_id(), "OrderForgotten", now, None, "key-ä", source="shop")
    async with opened(server.address) as broker:
        await broker.publish([Outgoing("told", told), Outgoing("told", forgotten)])
    printed = await tool(
        server, READ, "--topic", "told", "--from-beginning", "--max-messages", "2",
        *(part for each in ("print.key=true", "print.headers=true", "headers.separator=|")
          for part in ("--formatter-property", each)),
    )  # fmt: skip
    first, second = ([*line.split("\t")] for line in printed.strip().splitlines())
    headers = dict(each.split(":", 1) for each in first[0].split("|"))
    assert first[1:] == ["key-ä", '{"total":"12.30 £"}']
    assert headers.pop("ce_id") == told.id
    assert headers["ce_type"] == "OrderPlaced"
    assert headers["ce_source"] == "shop"
    assert headers["content-type"] == "application/json"
    assert {"c-1", "c-0", "3"} <= set(headers.values())
    assert second[1:] == ["key-ä", "null"], "a tombstone, as compaction wants it"


async def test_the_group_tool_says_of_each_partition_what_was_committed_and_who_reads_it(server):
    async with opened(server.address) as broker:
        await broker.publish(outgoing(messages(200, keys=50), "half-read"))
        subscription = await broker.subscribe("halfway", ["half-read"])
        done: dict[int, int] = {}
        while sum(done.values()) < 100:
            fetched = await subscription.fetch(7, 1 << 20, A_WHILE)
            subscription.notices()
            await subscription.commit({each.partition: each.position for each in fetched})
            for each in fetched:
                done[each.partition.number] = done.get(each.partition.number, 0) + 1
        rows = rows_of(await tool(server, GROUPS, "--describe", "--group", "halfway"), "halfway")
        ends = {p: int(end) + 1 for p, end in (await broker.ends("half-read")).items()}
        assert {number: int(row["CURRENT-OFFSET"]) for number, row in rows.items()} == {
            number: done.get(number, 0) for number in range(8)
        }
        assert {number: int(row["LAG"]) for number, row in rows.items()} == {
            number: ends[number] - done.get(number, 0) for number in range(8)
        }
        assert len({row["CONSUMER-ID"] for row in rows.values()} - {"-"}) == 1, "one member reads all"
        await subscription.close()


def rows_of(text: str, group: str) -> dict[int, dict[str, str]]:
    """The lines of the tool's table about a group, by partition."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    head = next(line for line in lines if "CURRENT-OFFSET" in line)
    rows = [dict(zip(head, line, strict=False)) for line in lines if line[0] == group]
    return {int(row["PARTITION"]): row for row in rows}
