"""What becomes of deliveries that no handler gets: types nobody asked for are counted, unreadable ones parked."""

from __future__ import annotations

import logging

from antiphon.brokers.ports import Delivery
from antiphon.observability.hooks import Parked
from antiphon.runtime.surroundings import Surroundings, reason_of
from antiphon.runtime.window import FINISHED
from antiphon.runtime.work import attempt_of, fingerprint_of
from antiphon.storage.set_aside import AsideState, SetAside

log = logging.getLogger("antiphon.runtime")


class Unread:
    """Finishes what has no handler, and parks what is none of the wire forms."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def take(self, delivery: Delivery) -> None:
        if delivery.problem is None:
            delivery.state = FINISHED
            self._surroundings.instruments.skipped(delivery.partition.topic).inc()
        else:
            self._park(delivery, delivery.problem)

    def _park(self, delivery: Delivery, problem: Exception) -> None:
        surroundings = self._surroundings
        reason, mark = reason_of(problem), fingerprint_of("", "", problem)
        item = SetAside(
            message=delivery.message,
            topic=delivery.partition.topic,
            partition=delivery.partition.number,
            position=delivery.position,
            service=surroundings.service,
            group=surroundings.group,
            handler="",
            attempts=(attempt_of(problem, surroundings.clock.now()),),
            reason=reason,
            lane=None,
            state=AsideState.PARKED,
            since=surroundings.clock.now(),
            fingerprint=mark,
            code_version=surroundings.code_version,
        )
        surroundings.shelf.put(delivery, item)
        if surroundings.hooks.parked:
            surroundings.hooks.parked(Parked(surroundings.service, None, delivery.message, reason, mark))
        log.error("parked a message that cannot be recognized: %s", problem)
