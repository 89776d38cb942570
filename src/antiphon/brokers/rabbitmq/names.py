"""What is everything called on the server, and with which arguments is it declared?

Nothing here uses what RabbitMQ 4 took away: every queue is durable, or belongs to one connection alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from antiphon.brokers.ports import Partition
from antiphon.errors import UsageError

Argument = str | int | bool | datetime
Arguments = Mapping[str, Argument]

MOST_DELIVERIES: Final = 1_000
"""A message that comes back so often is a dead letter, whatever its group says. Each move of a partition counts, too,
so that it is far above the 20 that RabbitMQ 4 begins with. A policy may set a lower limit."""
_UNLIMITED: Final = 1_000_000_000
"""For queues that are looked through: each look counts as a delivery."""
_LONGEST_NAME = 255
_KEPT_NOTES = 2_000_000
_KEPT_COURSE = 32_000_000
_DAY = 86_400_000


class Line(NamedTuple):
    """The queues of one group in one topic. `owner` is empty for those that are there before any group is."""

    topic: str
    owner: str


class Names:
    """The names under one prefix; whoever uses another prefix on the same virtual host meets nothing of it."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.registry = f"{prefix}:registry"
        self.log_registry = f"{prefix}:log-registry"
        self.dead = f"{prefix}:dead"
        """The exchange through which rejected messages go to their groups' queues."""

    def topic(self, topic: str) -> str:
        """The exchange of a topic."""
        return checked(f"{self._prefix}.{encoded(topic)}")

    def line(self, line: Line) -> str:
        """What the names of its queues begin with, and what its dead letters are routed by."""
        owner = f"/{encoded(line.owner)}" if line.owner else ""
        return f"{self.topic(line.topic)}{owner}"

    def queue(self, line: Line, number: int) -> str:
        return checked(f"{self.line(line)}/{number}")

    def partition(self, queue: str) -> Partition | None:
        """Which partition the messages of this queue are of; None for a queue that is none of a line."""
        begin, _, number = queue.rpartition("/")
        topic = begin.removeprefix(f"{self._prefix}.").partition("/")[0]
        if not begin.startswith(f"{self._prefix}.") or not number.isdecimal():
            return None
        return Partition(unquote(topic), int(number))

    def dead_letters(self, group: str) -> str:
        return checked(f"{self._prefix}:dead/{encoded(group)}")

    def notes(self, group: str) -> str:
        return checked(f"{self._prefix}:notes/{encoded(group)}")

    def group(self, group: str) -> str:
        """The exchange through which the members of a group meet."""
        return checked(f"{self._prefix}:group/{encoded(group)}")

    def member(self, member: str) -> str:
        return checked(f"{self._prefix}:member/{encoded(member)}")

    def replies(self, box: str) -> str:
        """The queue of a reply box."""
        return checked(f"{self._prefix}:replies/{box}")

    def stream(self, topic: str, number: int) -> str:
        """One partition of a topic that is a log."""
        return checked(f"{self._prefix}:log/{encoded(topic)}/{number}")

    def course(self, group: str) -> str:
        """Where a group of a log writes down how far it is, and who reads what."""
        return checked(f"{self._prefix}:course/{encoded(group)}")

    def delay(self, milliseconds: int) -> str:
        return f"{self._prefix}:delay/{milliseconds}"


@lru_cache(maxsize=1 << 12)
def encoded(name: str) -> str:
    """A part of a name, without the characters that divide names."""
    return quote(name, safe=" !$&'()*+,;=@", errors="surrogatepass")


def checked(name: str) -> str:
    """The name, if the server takes one that long. Raises UsageError."""
    if len(name) > _LONGEST_NAME:
        raise UsageError(
            f"RabbitMQ takes no name of {len(name)} bytes, but {_LONGEST_NAME}: shorten the name of the topic or group "
            f"in {name[:80]}..."
        )
    return name


def line_arguments(dead: str, route: str) -> Arguments:
    """One partition of a line: replicated, read by one at a time, and nothing of it is dropped in silence."""
    return {
        "x-queue-type": "quorum",
        "x-single-active-consumer": True,
        "x-delivery-limit": MOST_DELIVERIES,
        "x-dead-letter-exchange": dead,
        "x-dead-letter-routing-key": route,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # without it the strategy is not heeded
    }


def dead_letter_arguments() -> Arguments:
    return {"x-queue-type": "quorum", "x-delivery-limit": _UNLIMITED}


def delay_arguments(longest: timedelta) -> Arguments:
    """A queue whose messages go on to where they were addressed once their time is over. It goes when long unused."""
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-expires": 2 * int(longest / timedelta(milliseconds=1)) + _DAY,
    }


def registry_arguments() -> Arguments:
    return {"x-queue-type": "stream"}


def log_arguments() -> Arguments:
    """One partition of a log. What it keeps is for a policy to say."""
    return {"x-queue-type": "stream"}


def course_arguments() -> Arguments:
    """What a group wrote long ago is in what it writes down whole now and then."""
    return {
        "x-queue-type": "stream",
        "x-max-length-bytes": _KEPT_COURSE,
        "x-stream-max-segment-size-bytes": _KEPT_COURSE // 8,
    }


def notes_arguments() -> Arguments:
    """What is noted of messages is forgotten in time; it only tells how often they were attempted."""
    return {
        "x-queue-type": "stream",
        "x-max-length-bytes": _KEPT_NOTES,
        "x-stream-max-segment-size-bytes": _KEPT_NOTES // 4,
    }
