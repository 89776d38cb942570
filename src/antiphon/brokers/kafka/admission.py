"""Are we still let in? The driver says when nobody answered, or did and refused, and neither that it still is so nor
that it is over.
"""

from __future__ import annotations

import logging
import time

from antiphon.brokers.kafka.client import Conf, Consumer, KafkaError, KafkaException, error_of
from antiphon.brokers.kafka.faults import BY_TOKEN, LOGIN, fault
from antiphon.brokers.kafka.holdings import Holdings

logger = logging.getLogger("antiphon.brokers.kafka")

_LOOK, _PAUSE = 0.5, 0.5
"""Seconds that one look may take, and from one to the next."""
_NOBODY = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001 - public in the driver


class Admission:
    """Tells fetches what went wrong for one member: that nobody answers or lets it in, for as long as that is so."""

    def __init__(self, holdings: Holdings, where: str, conf: Conf) -> None:
        self._holdings, self._where = holdings, where
        self._by_token = conf.get("sasl.mechanism") == BY_TOKEN
        self._next = 0.0
        self._is_refused = False

    def report(self, error: KafkaError | KafkaException, tried: str) -> None:
        """Tell the next fetch of it, and of what was tried when it came; from any thread."""
        told = fault(error, self._where, tried, by_token=self._by_token)
        found = error if isinstance(error, KafkaError) else error_of(error)
        is_refusal, is_away = found.code() in LOGIN, found.code() == _NOBODY
        if is_away and self._is_refused:
            return  # that no node serves us is what it comes to, and says less
        if is_refusal and not self._is_refused:
            logger.warning("%s", told)
        self._is_refused = self._is_refused or is_refusal
        self._holdings.report(told, until_let_in=is_refusal or is_away)

    def look(self, consumer: Consumer) -> None:
        """Where we were not let in, find out whether that is over; blocks for a moment only then."""
        if self._holdings.refusal is None or time.monotonic() < self._next:
            return
        try:
            consumer.list_topics("__antiphon_ping", _LOOK)
        except KafkaException:
            self._next = time.monotonic() + _PAUSE
        else:
            self._holdings.let_in()
            if self._is_refused:
                logger.info("%s lets us in again", self._where)
            self._is_refused = False
