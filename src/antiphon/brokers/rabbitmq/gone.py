"""What is said when a group's queue, or the whole server's content, is gone."""

from __future__ import annotations

from antiphon.brokers.ports import Partition
from antiphon.errors import DataLostError


class QueueGoneError(DataLostError):
    """The queue in which a group's messages lay is not on the server any more, and they with it."""

    def __init__(self, group: str, partition: Partition, where: str, why: str) -> None:
        self.group, self.topic, self.partition = group, partition.topic, partition.number
        super().__init__(
            f"the queue of group {group!r} for {partition.topic}/{partition.number} is gone from {where} ({why}), and "
            "with it what the group had not read: restore the server's data, or start the service again, which begins "
            "with an empty queue",
        )
