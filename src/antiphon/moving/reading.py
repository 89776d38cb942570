"""What lies in a log, and which of its groups have read which of it?"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol, TypeGuard

from antiphon.brokers.ports import Broker, Browsing, Delivery
from antiphon.errors import UnsupportedCapabilityError

AT_ONCE = 1_000
"""The most messages that are read or published at once."""


class Log(Broker, Browsing, Protocol):
    """A broker that can be read without a group, and whose groups can be moved."""


def is_log(broker: Broker) -> TypeGuard[Log]:
    """Whether it is one."""
    return isinstance(broker, Browsing) and broker.capabilities.replay


def require_log(broker: Broker) -> Log:
    """The broker as one to move from. Raises UnsupportedCapabilityError."""
    if not is_log(broker):
        why = "nobody can see what its groups have not read: let them read it all, and begin on the other with nothing"
        raise UnsupportedCapabilityError(f"the broker {broker.url}", "log to move from", why)
    return broker


async def read(log: Log, topic: str, starts: Mapping[int, str]) -> AsyncGenerator[Sequence[Delivery]]:
    """Everything after these positions by number of partition, from the start of those left out, in order in each."""
    after = dict(starts)
    while found := await log.browse(topic, after, AT_ONCE):
        for delivery in found:
            after[delivery.partition.number] = delivery.position
        yield found


class Readers:
    """Tells of each message, asked in the order of its partition, which groups have read it.

    `firsts` are the positions of what each group reads next, by group and partition; None where it has read all.
    """

    def __init__(self, firsts: Mapping[str, Mapping[int, str | None]]) -> None:
        self._firsts = firsts
        self._reached: set[tuple[str, int]] = set()

    def of(self, delivery: Delivery) -> frozenset[str]:
        """The groups that have read this one."""
        number, position = delivery.partition.number, delivery.position
        self._reached.update((group, number) for group, at in self._firsts.items() if at.get(number) == position)
        return frozenset(group for group in self._firsts if (group, number) not in self._reached)
