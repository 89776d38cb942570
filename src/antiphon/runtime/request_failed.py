"""What an asker is told in place of a reply, when its request was given up."""

from __future__ import annotations

from msgspec import Struct

from antiphon.events.declare import event

FAILED = "antiphon.RequestFailed"
"""The type of such a message on the wire."""


@event(topic="antiphon.replies", name=FAILED)
class RequestFailed(Struct, frozen=True):
    """The class of the error that the handler raised, and its text; nothing else of the responder is shown."""

    error: str
    text: str
