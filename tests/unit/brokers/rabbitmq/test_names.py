"""What is declared is what every RabbitMQ from 3.10 to 4 has, and names lead back to what they name."""

from __future__ import annotations

import inspect
from datetime import timedelta

import pytest

from antiphon.brokers.ports import Partition
from antiphon.brokers.rabbitmq import driver
from antiphon.brokers.rabbitmq.names import (
    Arguments,
    Line,
    Names,
    dead_letter_arguments,
    delay_arguments,
    line_arguments,
    notes_arguments,
    registry_arguments,
)
from antiphon.errors import UsageError

NAMES = Names("shop")
ALL = (
    line_arguments("dead", "route"),
    dead_letter_arguments(),
    delay_arguments(timedelta(days=20)),
    registry_arguments(),
    notes_arguments(),
)
KNOWN_IN_4 = {
    "x-queue-type", "x-single-active-consumer", "x-delivery-limit", "x-dead-letter-exchange", "x-expires", "x-overflow",
    "x-dead-letter-routing-key", "x-dead-letter-strategy", "x-max-length-bytes", "x-stream-max-segment-size-bytes",
}  # fmt: skip


@pytest.mark.parametrize("arguments", ALL, ids=lambda each: str(each["x-queue-type"]))
def test_every_queue_is_replicated_and_nothing_is_asked_that_version_4_took_away(arguments: Arguments) -> None:
    assert arguments["x-queue-type"] in {"quorum", "stream"}
    assert arguments.keys() <= KNOWN_IN_4
    assert not any(name.startswith(("x-ha-", "x-queue-master", "x-queue-mode")) for name in arguments)


@pytest.mark.parametrize("arguments", ALL[:2], ids=["line", "dead letters"])
def test_the_limit_of_deliveries_is_said_since_version_4_has_a_low_one(arguments: Arguments) -> None:
    assert int(arguments["x-delivery-limit"]) >= 1000


def test_a_queue_is_durable_or_belongs_to_one_connection_and_prefetch_is_each_consumers_own() -> None:
    declared = inspect.getsource(driver.Lane.declare_queue)
    assert "durable=not exclusive" in declared
    assert "global" not in inspect.getsource(driver.Lane.barrier)
    assert "basic_qos" not in inspect.getsource(driver).replace(inspect.getsource(driver.Lane.barrier), "")


def test_no_queue_expires_before_its_messages() -> None:
    for longest in (timedelta(milliseconds=1), timedelta(hours=1), timedelta(days=20)):
        expires = timedelta(milliseconds=int(delay_arguments(longest)["x-expires"]))
        assert expires >= longest + timedelta(days=1)
        assert expires < timedelta(milliseconds=1 << 32)


@pytest.mark.parametrize("topic", ["orders", "a/b", "a.b:c%d", "bestellungen-ü", "orders/1"])
@pytest.mark.parametrize("owner", ["", "payments", "a/b/3"])
def test_the_name_of_a_queue_leads_back_to_its_partition(topic: str, owner: str) -> None:
    assert NAMES.partition(NAMES.queue(Line(topic, owner), 7)) == Partition(topic, 7)


def test_lines_of_different_topics_and_groups_share_no_queue() -> None:
    lines = [Line("a", ""), Line("a", "b"), Line("a/b", ""), Line("a/0", ""), Line("a", "0"), Line("a", "0/0")]
    assert len({NAMES.queue(line, 0) for line in lines}) == len(lines)


def test_what_is_no_queue_of_a_line_has_no_partition() -> None:
    assert [NAMES.partition(name) for name in ("shop:dead/payments", "other.orders/0", "shop.orders", "")] == [None] * 4


def test_a_name_that_the_server_does_not_take_is_refused_with_what_to_do() -> None:
    with pytest.raises(UsageError, match="shorten the name"):
        NAMES.queue(Line("x" * 250, ""), 7)
