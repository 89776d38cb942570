"""What `on` and `on_batch` may be told besides their events, and what is said to anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from typing import Literal, TypedDict, cast, get_args

from antiphon.brokers.ports import Start, SubscribeOptions
from antiphon.errors import DeclarationError
from antiphon.resilience.policy import Retry
from antiphon.runtime.route import HandlerOptions, Newer

Demand = Literal["at_most_once", "at_least_once", "effectively_once"]
Share = Literal["shared", "own"]


class Options(TypedDict, total=False):
    """What `on` takes besides events.

    `policy`: what follows a failure, instead of the service's. `guarantee`: refuse to start below it. `transaction`:
    one shared by many messages, or `"own"` for a handler that also waits for other things. `newer`: what happens to
    events newer than the code. `publishes`: what it sends by `Publisher`. `order=None` gives up order by key.
    """

    policy: Retry
    guarantee: Demand
    transaction: Share
    newer: Newer
    publishes: Sequence[type]
    order: Literal["key"] | None


_CHOICES: Mapping[str, tuple[object, ...]] = {
    "guarantee": get_args(Demand),
    "transaction": get_args(Share),
    "newer": get_args(Newer),
    "order": ("key", None),
}


def read_options(
    given: Options, *, batch_size: int | None = None, batch_wait: timedelta = timedelta(0)
) -> HandlerOptions:
    """The options as the runtime keeps them. Raises DeclarationError for an unknown one or an unusable value."""
    _check(cast("Mapping[str, object]", given))
    return HandlerOptions(
        policy=given.get("policy"),
        guarantee=given.get("guarantee"),
        transaction=given.get("transaction", "shared"),
        newer=given.get("newer", "pause"),
        publishes=tuple(given.get("publishes", ())),
        ordered=given.get("order", "key") is not None,
        batch_size=batch_size,
        batch_wait=batch_wait,
    )


def _check(given: Mapping[str, object]) -> None:
    """Callers without a type checker pass anything, and what is ignored in silence is believed to hold."""
    for name, value in given.items():
        if name not in Options.__annotations__:
            raise DeclarationError(f"on(..., {name}=...): there is no such option; {_nearest(name)}")
        choices = _CHOICES.get(name)
        if choices is not None and value not in choices:
            raise DeclarationError(f"on(..., {name}={value!r}): it is one of {', '.join(map(repr, choices))}")
    check_policy("on", given.get("policy"))
    if not isinstance(given.get("publishes", ()), Sequence):
        raise DeclarationError("on(..., publishes=...): it is several event classes, as in publishes=(OrderPlaced,)")


def check_policy(of: str, policy: object) -> None:
    """Raise DeclarationError for what is no policy."""
    if policy is not None and not isinstance(policy, Retry):
        raise DeclarationError(f"{of}(..., policy={policy!r}): it is a policy, as in policy=Retry(immediate=3)")


def read_places(start: Start, lost: Start) -> SubscribeOptions:
    """Where a group reads from. Raises DeclarationError for what is no place to begin."""
    if start not in (Start.START, Start.END):
        raise DeclarationError(
            f"Service(..., start={start!r}): a group begins at Start.START or Start.END; only lost= may be Start.STOP"
        )
    if lost not in tuple(Start):
        raise DeclarationError(f"Service(..., lost={lost!r}): it is one of Start.START, Start.END, Start.STOP")
    return SubscribeOptions(start=Start(start), lost=Start(lost))


def _nearest(name: str) -> str:
    close = get_close_matches(name, Options.__annotations__, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(Options.__annotations__)}"


def check_events(service: str, events: Sequence[object]) -> None:
    """Refuse what stands where event classes belong, such as the function under a bare `@service.on`."""
    for event in events:
        if not isinstance(event, type):
            raise DeclarationError(
                f"service {service!r}: on() was given {event!r} in place of an event class: write "
                "@service.on(OrderPlaced) above the handler"
            )
