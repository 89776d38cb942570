"""Whether an option that would not be obeyed is refused where it is written."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from antiphon import Key, Service, Start, Struct, event
from antiphon.errors import DeclarationError, GuaranteeError
from antiphon.runtime.options import Options, read_options


@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]


WRONG: list[tuple[dict[str, object], str]] = [
    ({"polcy": None}, "there is no such option; did you mean 'policy'?"),
    ({"guarantee": "exactly_once"}, "one of 'at_most_once', 'at_least_once', 'effectively_once'"),
    ({"transaction": "mine"}, "one of 'shared', 'own'"),
    ({"newer": "skip"}, "one of 'pause', 'park', 'accept'"),
    ({"order": "strict"}, "one of 'key', None"),
    ({"policy": 3}, "policy=Retry"),
    ({"publishes": OrderPlaced}, "several event classes"),
]


@pytest.mark.parametrize(("given", "told"), WRONG, ids=[next(iter(given)) for given, _ in WRONG])
def test_an_unknown_option_or_value_is_refused_with_what_may_stand_there(
    given: Mapping[str, object], told: str
) -> None:
    with pytest.raises(DeclarationError, match=r"on\(\.\.\., \w+=") as caught:
        read_options(cast("Options", given))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"start": Start.STOP}, "begins at Start.START or Start.END"),
        ({"start": "middle"}, "begins at Start.START or Start.END"),
        ({"lost": "never"}, "one of Start.START, Start.END, Start.STOP"),
        ({"policy": 3}, "as in policy=Retry(immediate=3)"),
    ],
    ids=["stop", "start", "lost", "policy"],
)
def test_a_service_refuses_what_it_would_not_obey(given: dict[str, Any], told: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Service("payments", **given)
    assert told in str(caught.value)


def test_what_is_not_given_has_its_default() -> None:
    options = read_options({})
    assert (options.transaction, options.newer, options.ordered, options.publishes) == ("shared", "pause", True, ())


def test_a_decorator_without_its_event_is_refused() -> None:
    service = Service("payments")

    async def authorise(order: OrderPlaced) -> None: ...

    with pytest.raises(DeclarationError, match=r"write @service\.on\(OrderPlaced\)"):
        service.on(cast("type[OrderPlaced]", authorise))


def test_describe_refuses_what_a_start_would_refuse() -> None:
    service = Service("payments", broker="memory:///")

    @service.on(OrderPlaced, guarantee="effectively_once")
    async def authorise(order: OrderPlaced) -> None: ...

    with pytest.raises(GuaranteeError, match="authorise demands effectively_once but would get at_least_once"):
        service.describe()
