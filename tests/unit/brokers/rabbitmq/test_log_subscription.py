"""Does a member that reads many streams leave nothing behind where one of them fails?"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import cast

import pytest

from antiphon.brokers.offsets import CursorRow
from antiphon.brokers.ports import SubscribeOptions
from antiphon.brokers.rabbitmq.driver import Link
from antiphon.brokers.rabbitmq.log_group import LogGroup
from antiphon.brokers.rabbitmq.log_reader import LogReader
from antiphon.brokers.rabbitmq.log_share import ME
from antiphon.brokers.rabbitmq.log_subscription import LogSettings, RabbitLogSubscription
from antiphon.brokers.rabbitmq.names import Names
from antiphon.errors import ConnectionLostError


async def test_no_stream_is_still_being_opened_once_it_is_told_that_another_one_could_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    under_way = set[int]()

    async def open_one(reader: LogReader, _: Link) -> None:
        number = reader.owned.partition.number
        under_way.add(number)
        await asyncio.sleep(0.01 * number)
        under_way.remove(number)
        if number == 0:
            raise ConnectionLostError("it has no leader now")

    monkeypatch.setattr(LogReader, "open", open_one)
    some = timedelta(seconds=10)
    subscription = RabbitLogSubscription(
        cast(Link, None), Names("antiphon"), cast(LogGroup, None), {"orders": 3}, SubscribeOptions(),
        LogSettings(some, some, 100), lambda _: None,
    )  # fmt: skip
    subscription._held.adopt([CursorRow(number, ME, 1, 0, 0) for number in range(3)], ME)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(ConnectionLostError, match="no leader"):
        await subscription._read_all()  # pyright: ignore[reportPrivateUsage]
    assert under_way == set()
