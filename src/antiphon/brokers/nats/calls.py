"""What was asked of the server, and what comes back: one answer, several, or a confirmation each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec
from msgspec import Struct

from antiphon.errors import AccessDeniedError


class Arrived(Protocol):
    """A message as the driver hands it over."""

    @property
    def subject(self) -> str: ...
    @property
    def reply(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def headers(self) -> dict[str, str] | None: ...


Handler = Callable[[Arrived], Awaitable[None]]


class Post(NamedTuple):
    """One message to be stored."""

    subject: str
    data: bytes
    headers: dict[str, str] | None = None


class Ack(NamedTuple):
    """What the server said to one message: its place in the stream, or its reason."""

    sequence: int
    code: int = 0
    reason: str = ""
    is_duplicate: bool = False


NOBODY_LISTENS = -503
"""The code of an ack when no stream takes the subject."""
WRONG_SEQUENCE = 10071
STREAM_MISSING = 10059


class RefusedError(Exception):
    """The server answered with an error; whoever asked decides what that means."""

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text
        super().__init__(f"{text} ({code})")


class ApiError(Struct):
    code: int = 0
    err_code: int = 0
    description: str = "unknown"


class _PubAck(Struct):
    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None


_ack_decoder = msgspec.json.Decoder(_PubAck)


def read_ack(message: Arrived) -> Ack:
    """What the server said to a message that was to be stored."""
    if status_of(message) == "503":
        return Ack(0, NOBODY_LISTENS, "no stream takes it")
    sequence, is_duplicate, error = (found := _ack_decoder.decode(message.data)).seq, found.duplicate, found.error
    if error is None:
        return Ack(sequence, is_duplicate=is_duplicate)
    return Ack(0, error.err_code or error.code, error.description)


def status_of(message: Arrived) -> str:
    """The status of a message of the server's own; nothing when it is one of somebody's."""
    headers = message.headers
    if not headers or message.data or message.reply or "Nats-Sequence" in headers:
        return ""
    return headers.get("Status", "")


class Call:
    """One thing asked, with an answer or many to come."""

    def __init__(self, subjects: Sequence[str] = ()) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.subjects = subjects

    def take(self, index: int, message: Arrived) -> None:
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def deny(self, subject: str, text: str) -> None:
        """The server forbade to publish to this subject, and never answers."""
        if any(subject == each.lower() for each in self.subjects):
            self.fail(
                AccessDeniedError(f"the server does not allow it: {text}: give this user the right to publish there")
            )

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Answer(Call):
    message: Arrived

    def take(self, index: int, message: Arrived) -> None:
        self.message = message
        self.finish()


class Answers(Call):
    """Messages until one with a status."""

    def __init__(self, subjects: Sequence[str]) -> None:
        super().__init__(subjects)
        self.messages: list[Arrived] = []
        self.status = ""

    def take(self, index: int, message: Arrived) -> None:
        status = status_of(message)
        if status:
            self.status = status
            self.finish()
        else:
            self.messages.append(message)


class Acks(Call):
    """One ack for each post; one that is denied stops the others as well."""

    def __init__(self, subjects: Sequence[str]) -> None:
        super().__init__(subjects)
        self.acks: list[Ack | None] = [None] * len(subjects)
        self._missing = len(subjects)

    def take(self, index: int, message: Arrived) -> None:
        if self.acks[index] is None:
            self.acks[index] = read_ack(message)
            self._missing -= 1
            if not self._missing:
                self.finish()


class BatchAck(Call):
    """The ack of the last message of a batch, or an error of the first."""

    ack = Ack(0)

    def take(self, index: int, message: Arrived) -> None:
        if not message.data and not message.headers:
            return  # the batch has begun
        self.ack = read_ack(message)
        if index or self.ack.code:
            self.finish()
