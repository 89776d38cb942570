"""What `on` and `on_batch` may be told besides their events, and what is said to anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Literal, TypedDict, cast, get_args

from msgspec import Struct

from antiphon.brokers.ports import Start, SubscribeOptions
from antiphon.errors import DeclarationError
from antiphon.events.declare import declaration_of
from antiphon.resilience import Breaker, RateLimit, Retry
from antiphon.runtime.layouts import Layout, chosen_outbox
from antiphon.runtime.route import HandlerOptions, Newer
from antiphon.storage.outboxes import OutboxTable
from antiphon.storage.sessions import Sessions

Demand = Literal["at_most_once", "at_least_once", "effectively_once"]
Share = Literal["shared", "own"]
Settle = Literal["last", "first"]
DeadLettersIn = Literal["store", "broker"]


class Options(TypedDict, total=False):
    """What `on` takes besides events.

    `policy`: what follows a failure, instead of the service's. `guarantee`: refuse to start below it. `transaction`:
    one shared by many messages, or `"own"` for a handler that also waits for other things. `newer`: what happens to
    events newer than the code. `publishes`: what it sends by `Publisher`. `order=None` gives up order by key: what
    follows a failed message of its key does not wait for it. `settle="first"`: settled before it runs, so that it runs
    at most once. `breaker` and `limit` act on fetching the events' topic, for all handlers of the service that read it.
    `once_by`: a field of the event, such as a payment's number; what has the same value is a duplicate, under any id.
    """

    policy: Retry
    guarantee: Demand
    transaction: Share
    newer: Newer
    publishes: Sequence[type]
    order: Literal["key"] | None
    settle: Settle
    breaker: Breaker
    limit: RateLimit
    once_by: str


class ServiceOptions(TypedDict, total=False):
    """What a `Service` takes besides its name, broker and migrations.

    `policy`: what follows a failure; `policies`: the same for single events it reads, by their class. `breaker` and
    `limit` act on fetching, for each topic that it reads by itself. `start`: where the group begins when it has no
    position; `lost`: what happens when retention deleted the one it had. `inbox=False` gives up recognizing duplicates.
    `concurrency`: how many handlers run side by side, each key in one lane. `dead_letters="broker"` parks in the
    broker's own dead-letter queue, where it has one, instead of the store; nothing waits behind those.
    `sessions`: where the sessions of handlers come from, `SqlAlchemySessions(...)` or `DjangoSessions()`; or several.
    `outbox`: another one than Antiphon's own table: `"debezium"`, `DebeziumOutbox(...)`, or `"wal"` on PostgreSQL.
    """

    policy: Retry
    policies: Mapping[type, Retry]
    breaker: Breaker
    limit: RateLimit
    start: Start
    lost: Start
    inbox: bool
    concurrency: int
    dead_letters: DeadLettersIn
    sessions: Sessions | Sequence[Sessions]
    outbox: OutboxTable | Layout


class Choices(Struct, frozen=True, kw_only=True):
    """What a service was told, checked."""

    policy: Retry = Retry()
    policies: Mapping[type, Retry] = MappingProxyType({})
    breaker: Breaker | None = None
    limit: RateLimit | None = None
    subscribing: SubscribeOptions = SubscribeOptions()
    inbox: bool = True
    concurrency: int | None = None
    dead_letters: DeadLettersIn = "store"
    sessions: tuple[Sessions, ...] = ()
    outbox: OutboxTable | None = None


_CHOICES: Mapping[str, tuple[object, ...]] = {
    "guarantee": get_args(Demand),
    "transaction": get_args(Share),
    "newer": get_args(Newer),
    "order": ("key", None),
    "settle": get_args(Settle),
}


def read_options(
    given: Options, *, batch_size: int | None = None, batch_wait: timedelta = timedelta(0), answers: bool = False
) -> HandlerOptions:
    """The options as the runtime keeps them. Raises DeclarationError for an unknown one or an unusable value.

    A request is of no use later, so that one that `answers` waits for nothing unless it says so: neither for newer code
    nor for others of its key.
    """
    _check(cast("Mapping[str, object]", given))
    return HandlerOptions(
        policy=given.get("policy"),
        guarantee=given.get("guarantee"),
        transaction=given.get("transaction", "shared"),
        newer=given.get("newer", "park" if answers else "pause"),
        publishes=tuple(given.get("publishes", ())),
        ordered=given.get("order", None if answers else "key") is not None,
        settles_first=given.get("settle") == "first",
        breaker=given.get("breaker"),
        limit=given.get("limit"),
        once_by=given.get("once_by"),
        answers=answers,
        batch_size=batch_size,
        batch_wait=batch_wait,
    )


def _check(given: Mapping[str, object]) -> None:
    """Callers without a type checker pass anything, and what is ignored in silence is believed to hold."""
    for name, value in given.items():
        if name not in Options.__annotations__:
            raise DeclarationError(f"on(..., {name}=...): there is no such option; {_nearest(name, Options)}")
        choices = _CHOICES.get(name)
        if choices is not None and value not in choices:
            raise DeclarationError(f"on(..., {name}={value!r}): it is one of {', '.join(map(repr, choices))}")
    check_policy("on", given.get("policy"))
    _check_gates("on", given)
    if not isinstance(given.get("publishes", ()), Sequence):
        raise DeclarationError("on(..., publishes=...): it is several event classes, as in publishes=(OrderPlaced,)")


def check_policy(of: str, policy: object) -> None:
    """Raise DeclarationError for what is no policy."""
    if policy is not None and not isinstance(policy, Retry):
        raise DeclarationError(f"{of}(..., policy={policy!r}): it is a policy, as in policy=Retry(immediate=3)")


def _check_gates(of: str, given: Mapping[str, object]) -> None:
    breaker, limit = given.get("breaker"), given.get("limit")
    if breaker is not None and not isinstance(breaker, Breaker):
        raise DeclarationError(f"{of}(..., breaker={breaker!r}): it is a breaker, as in breaker=Breaker(rest=...)")
    if limit is not None and not isinstance(limit, RateLimit):
        raise DeclarationError(f"{of}(..., limit={limit!r}): it is a rate limit, as in limit=RateLimit(messages=100)")


def read_service_options(given: ServiceOptions) -> Choices:
    """What a service was told. Raises DeclarationError for an unknown option or an unusable value."""
    for name in given:
        if name not in ServiceOptions.__annotations__:
            raise DeclarationError(
                f"Service(..., {name}=...): there is no such option; {_nearest(name, ServiceOptions)}"
            )
    check_policy("Service", given.get("policy"))
    _check_gates("Service", cast("Mapping[str, object]", given))
    policies = given.get("policies", {})
    if not isinstance(cast("object", policies), Mapping):
        raise DeclarationError(
            f"Service(..., policies={policies!r}): it gives events their policies, as in "
            "policies={OrderPlaced: Retry(immediate=3)}"
        )
    for event, policy in policies.items():
        declaration_of(event)
        check_policy(f"Service(..., policies={{{event.__name__}: ...}}): on", policy)
    dead_letters = given.get("dead_letters", "store")
    if dead_letters not in get_args(DeadLettersIn):
        raise DeclarationError(f"Service(..., dead_letters={dead_letters!r}): it is one of 'store', 'broker'")
    concurrency = given.get("concurrency")
    if concurrency is not None and concurrency < 1:
        raise DeclarationError(f"concurrency={concurrency}: at least one handler must be able to run")
    return Choices(
        policy=given.get("policy") or Retry(),
        policies=MappingProxyType(dict(policies)),
        breaker=given.get("breaker"),
        limit=given.get("limit"),
        subscribing=read_places(given.get("start", Start.START), given.get("lost", Start.STOP)),
        inbox=given.get("inbox", True),
        concurrency=concurrency,
        dead_letters=dead_letters,
        sessions=_read_sessions(given.get("sessions", ())),
        outbox=chosen_outbox("Service", given.get("outbox", "own")),
    )


def _read_sessions(given: object) -> tuple[Sessions, ...]:
    each = cast("Sequence[object]", given) if isinstance(given, Sequence) else (given,)
    for one in each:
        if isinstance(one, type) or not callable(getattr(one, "begin", None)) or not hasattr(one, "is_plain"):
            raise DeclarationError(
                f"Service(..., sessions={one!r}): it gives handlers sessions, as in "
                "sessions=SqlAlchemySessions(async_sessionmaker(engine))"
            )
    return tuple(cast("Sequence[Sessions]", each))


def read_places(start: Start, lost: Start) -> SubscribeOptions:
    """Where a group reads from. Raises DeclarationError for what is no place to begin."""
    if start not in (Start.START, Start.END):
        raise DeclarationError(
            f"Service(..., start={start!r}): a group begins at Start.START or Start.END; only lost= may be Start.STOP"
        )
    if lost not in tuple(Start):
        raise DeclarationError(f"Service(..., lost={lost!r}): it is one of Start.START, Start.END, Start.STOP")
    return SubscribeOptions(start=Start(start), lost=Start(lost))


def _nearest(name: str, options: type) -> str:
    from difflib import get_close_matches  # only after a mistake: it would slow every start

    close = get_close_matches(name, options.__annotations__, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(options.__annotations__)}"


def check_events(service: str, events: Sequence[object]) -> None:
    """Refuse what stands where event classes belong, such as the function under a bare `@service.on`."""
    for event in events:
        if not isinstance(event, type):
            raise DeclarationError(
                f"service {service!r}: on() was given {event!r} in place of an event class: write "
                "@service.on(OrderPlaced) above the handler"
            )
