"""What does an error of the driver mean to whoever called us?"""

from __future__ import annotations

from antiphon.brokers.kafka.client import REFUSALS, SOON_WELL, KafkaError, error_of
from antiphon.errors import AccessDeniedError, BrokerError, ConnectionLostError, UnknownTopicError

# ruff: noqa: SLF001 - the driver's names of local errors begin with an underscore

LOGIN = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})
"""It does not let us in as whom we say we are. Who was let in before may be again, once that is renewed."""
AWAY = (
    SOON_WELL
    | LOGIN
    | {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError._WAIT_COORD,
        KafkaError._WAIT_CACHE,
        KafkaError._DESTROY,
        KafkaError._PURGE_QUEUE,
        KafkaError._PURGE_INFLIGHT,
        KafkaError._RETRY,
        KafkaError._OUTDATED,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.THROTTLING_QUOTA_EXCEEDED,
        KafkaError.REBALANCE_IN_PROGRESS,
    }
)
"""The same call may succeed later."""
DENIED = REFUSALS
NO_RIGHT = DENIED - LOGIN
NOT_IN = LOGIN | {KafkaError._SSL}
"""It does not let us in at all."""
NEVER = frozenset({KafkaError.INVALID_SESSION_TIMEOUT})
"""It lets nobody into a group who says this, however often."""
UNHEARD = frozenset({KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._BAD_MSG})
"""One server cannot be reached, or is none of Kafka, and the text says which and why."""
UNKNOWN_TOPIC = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
NOT_A_MEMBER = frozenset({KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_INSTANCE_ID, KafkaError.FENCED_MEMBER_EPOCH})
"""The group goes on without us, and gave our partitions to others."""
BY_TOKEN = "OAUTHBEARER"
"""The mechanism whose tokens end, and are made anew."""
MOVING = frozenset(
    {
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError._ASSIGNMENT_LOST,
    }
)
"""The group is sharing out its partitions anew; what we keep of ours may be settled in a moment."""


def fault(
    error: KafkaError | BaseException,
    where: str,
    tried: str,
    topic: str | None = None,
    *,
    by_token: bool = False,
    is_opening: bool = False,
) -> BrokerError:
    """Our error for it: what was tried, on what, what was found, and what to do.

    `by_token` says that we show who we are by tokens, of which the next one may be taken; `is_opening`, that we were
    not let in before, so that a refused login is final.
    """
    found = error if isinstance(error, KafkaError) else error_of(error)
    code, said = found.code(), f"{found.str()} ({found.name()})"
    if code in UNKNOWN_TOPIC and topic is not None:
        return UnknownTopicError(topic)
    if by_token and code in NOT_IN:
        return ConnectionLostError(
            f"cannot {tried}: {where} does not take our token, or there is none: {said}; it is tried again with the "
            "next one: look at what makes them"
        )
    if code in LOGIN and not is_opening:
        return ConnectionLostError(
            f"cannot {tried}: {where} does not let us in any more: {said}; it is tried again: mend the user's name or "
            "its password, there or here"
        )
    if code in DENIED:
        return AccessDeniedError(
            f"{where} does not let us {tried}: {said}: mend the user's name, its password or its rights"
        )
    if code == KafkaError._SSL:
        return BrokerError(
            f"cannot {tried}: {where} and we do not agree on TLS: {said}: look at tls, tls_ca and its kin"
        )
    if code == KafkaError.INVALID_SESSION_TIMEOUT:
        return BrokerError(
            f"cannot {tried}: {where} answers {said}: let lease be between group.min.session.timeout.ms and "
            "group.max.session.timeout.ms of the cluster, which are 6s and 30m where nobody set them"
        )
    if code in AWAY or found.retriable():
        return ConnectionLostError(f"cannot {tried}: {where} does not answer: {said}; the same may succeed later")
    return BrokerError(f"cannot {tried}: {where} answers {said}")
