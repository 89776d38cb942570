"""How does a member leave its group so that the group hears of it?

The driver's `close` alone does not see to that. A member without partitions closes without a word. One that is just
joining says it on a connection that the cluster does not read before all have joined, and hangs up after a moment. The
group then waits for it until its lease is over, with nobody reading. So we let it finish its first joining, before
which the driver has nothing to take back, and unsubscribe: that is put off until the group is at rest, and the word is
said in any case. Then the driver forgets under which name it was a member.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from antiphon.brokers.kafka.client import Consumer, KafkaException

logger = logging.getLogger("antiphon.brokers.kafka")

LONGEST_LEAVE = 10.0
"""Seconds that a member waits until the group has heard."""
_CONTACT = 1.0
"""Seconds in which a member that finds its group begins to join it."""
_POLL = 0.02


def await_joined(consumer: Consumer, began: float, is_joined: Callable[[], bool]) -> None:
    """Give who has just `began` the time to join a group of the protocol `consumer`, so that closing can leave it.

    The driver does not leave before it has heard of having joined; the group would keep partitions for who is gone.
    """
    try:
        while not is_joined() and time.monotonic() < began + _CONTACT:
            consumer.poll(_POLL)
    except KafkaException as error:
        logger.info("it never joined: %s", error)


def leave(consumer: Consumer, group: str, is_joined: Callable[[], bool]) -> None:
    """Leave a group of the protocol `classic`; blocks. For the thread that polls and serves the driver."""
    began = time.monotonic()
    deadline = began + LONGEST_LEAVE
    try:
        while not is_joined() and time.monotonic() < deadline:
            if not consumer.memberid() and time.monotonic() > began + _CONTACT:
                return  # it never got there
            consumer.poll(_POLL)
        consumer.unsubscribe()
        while consumer.memberid() and time.monotonic() < deadline:
            consumer.poll(_POLL)
    except KafkaException as error:
        logger.info("group %s may not hear that its member left: %s", group, error)
