"""A message is frozen, cheap to change by copying, and shares nothing that can be changed."""

from datetime import UTC, datetime

import msgspec
import pytest

from antiphon.events.message import NO_EXTENSIONS, Message, Outgoing

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_a_message_cannot_be_changed() -> None:
    message = Message("1", "Sold", NOON, b"{}")
    with pytest.raises(AttributeError):
        message.key = "k"  # type: ignore[misc]  # the promise
    with pytest.raises(TypeError):
        message.extensions["a"] = 1  # type: ignore[index]  # the promise
    assert message.extensions is NO_EXTENSIONS


def test_a_message_that_says_nothing_more_is_version_1_in_json() -> None:
    message = Message("1", "Sold", NOON, None)
    assert (message.schema_version, message.content_type, message.key, message.source) == (
        1,
        "application/json",
        None,
        "",
    )


def test_a_changed_copy_leaves_the_first_alone() -> None:
    message = Message("1", "Sold", NOON, b"{}")
    moved = msgspec.structs.replace(message, key="k")
    assert (message.key, moved.key) == (None, "k")
    assert moved == Message("1", "Sold", NOON, b"{}", "k")


def test_outgoing_names_the_road() -> None:
    message = Message("1", "Sold", NOON, b"{}")
    assert tuple(Outgoing("sales", message)) == ("sales", message)
