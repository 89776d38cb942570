"""An outbox is chosen by its name, and what cannot be chosen is refused."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon import Service
from antiphon.errors import DeclarationError, SettingsError
from antiphon.runtime.layouts import outbox_of
from antiphon.storage.debezium_outbox import DebeziumOutbox
from antiphon.storage.wal_outbox import WalOutbox


def test_each_name_means_one_outbox() -> None:
    assert outbox_of("own") is None
    assert isinstance(outbox_of("wal"), WalOutbox)
    debezium = outbox_of("debezium", "events", "outbox.event.{aggregatetype}")
    assert isinstance(debezium, DebeziumOutbox)
    assert (debezium.table, debezium.topic_of("Order")) == ("events", "outbox.event.Order")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("kafka", None, None), "it is one of own, debezium, wal"),
        (("own", "events", None), "has no table or topics to choose"),
        (("wal", None, "x"), "has no table or topics to choose"),
        (("debezium", "", "x"), "write .aggregatetype. in it once"),
    ],
)
def test_what_cannot_be_chosen_is_refused(given: tuple[str, str | None, str | None], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        outbox_of(*given)


@pytest.mark.parametrize("outbox", ["kafka", DebeziumOutbox, 3])
def test_a_service_refuses_what_is_no_outbox(outbox: Any) -> None:
    with pytest.raises(DeclarationError, match=r"it is one of 'own', 'debezium', 'wal', or DebeziumOutbox\(...\)"):
        Service("shop", outbox=outbox)


def test_outboxes_of_one_store_have_no_bucket_in_common() -> None:
    buckets = [DebeziumOutbox("a").buckets, DebeziumOutbox("b").buckets, WalOutbox.buckets, range(64)]
    assert len({bucket for each in buckets for bucket in each}) == sum(map(len, buckets))
