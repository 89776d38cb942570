"""How does a member leave its group so that the group hears of it?

The driver's `close` alone does not see to that. A member without partitions closes without a word; and one that is just
joining says it on a connection that the cluster does not read before all have joined, and hangs up after a moment. The
group then waits for it until its lease is over, with nobody reading. So we unsubscribe first: the driver puts that off
until the joining is over, and says the word in any case. Then it forgets under which name it was a member.
"""

from __future__ import annotations

import logging
import time

from antiphon.brokers.kafka.client import Consumer, KafkaException

logger = logging.getLogger("antiphon.brokers.kafka")

LONGEST_LEAVE = 10.0
"""Seconds that a member waits until the group has heard."""
_POLL = 0.02


def leave(consumer: Consumer, group: str, *, is_classic: bool) -> None:
    """Leave the group and close the consumer; blocks. For the thread that polls it, which serves its callbacks."""
    deadline = time.monotonic() + LONGEST_LEAVE
    try:
        if is_classic:  # the other protocol has no joining that others hold up
            consumer.unsubscribe()
            while consumer.memberid() and time.monotonic() < deadline:
                consumer.poll(_POLL)
    except KafkaException as error:
        logger.info("group %s may not hear that its member left: %s", group, error)
    finally:
        consumer.close()
