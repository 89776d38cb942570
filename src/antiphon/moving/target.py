"""Can the other broker take what is to be carried, as it is now?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from antiphon.brokers.lags import lags_of
from antiphon.brokers.ports import Broker, Filling, Lag, TopicState
from antiphon.errors import UnsupportedCapabilityError, UsageError
from antiphon.moving.arrivals import Arrivals, readers_of
from antiphon.moving.reading import Log, is_log
from antiphon.moving.survey import Choice, TopicPlan, require_stopped


def require_able(target: Broker, choice: Choice) -> None:
    """Raise UnsupportedCapabilityError where nothing can be moved to it, UsageError where not what is chosen."""
    able, broker = target.capabilities, f"the broker {target.url}"
    if not able.durable or not able.groups:
        raise UnsupportedCapabilityError(broker, "log or queue to move to", "it keeps nothing, or knows no groups")
    if is_log(target):
        return
    if not isinstance(target, Filling):
        why = "it cannot give one group what another one has read already"
        raise UnsupportedCapabilityError(broker, "filling", why)
    if choice.everything:
        raise UsageError(f"{target.url} keeps for each group what it has not read, and nothing else: leave out --all")


async def require_fitting(source: Log, target: Broker, plans: Sequence[TopicPlan], *, is_begun: bool) -> None:
    """Raise UsageError where the topics cannot be carried there, or where groups are at work there already."""
    moved = {group for plan in plans for group in plan.unread}
    # A cluster may have many groups of others; only a queue has to be asked about them.
    asked = [group for group in await target.groups() if group in moved or not is_log(target)]
    everybody = await lags_of(target, asked)
    stand = {group: lags for group, lags in everybody.items() if group in moved}
    require_stopped(target.url, stand)
    states = {state.name: state for state in await target.topics()}
    for plan in plans:
        require_room(target, plan)
        state = states.get(plan.name)
        if state is None:
            continue
        _require_same(target, plan, state)
        if not is_begun:
            _require_read(target, plan, stand)
            if is_log(target):
                await _require_new(source, target, plan)
            else:
                _require_nothing_waits(target, state, everybody)


def _require_read(target: Broker, plan: TopicPlan, stand: Mapping[str, Sequence[Lag]]) -> None:
    """A group cannot leave out what it has read of what is carried, and read what lies before that.

    On a queue its messages would be dropped before it is filled.
    """
    for group, lags in stand.items():
        is_behind = any(lag.messages for lag in lags if lag.partition.topic == plan.name)
        if is_behind and not (is_log(target) and plan.unread.get(group, plan.messages) == plan.messages):
            raise UsageError(
                f"group {group!r} has something to read of {plan.name!r} on {target.url} already: "
                "let it read that first"
            )


def _require_nothing_waits(target: Broker, state: TopicState, everybody: Mapping[str, Sequence[Lag]]) -> None:
    """What a queue keeps for the first group of a topic would be that group's, and be dropped before it is filled."""
    is_read = any(lag.partition.topic == state.name for lags in everybody.values() for lag in lags)
    if state.messages and not is_read:
        raise UsageError(
            f"{state.messages} messages of {state.name!r} wait on {target.url} for their first group: nobody may "
            "publish there before the services are moved, so delete the topic there"
        )


def require_room(target: Broker, plan: TopicPlan) -> None:
    """Raise UsageError where messages of the topic cannot lie there. The target need not be open."""
    limit = target.capabilities.max_message_bytes
    if limit is not None and plan.largest > limit:
        raise UsageError(
            f"{plan.name!r} holds a message of {plan.largest} bytes, and {target.url} takes {limit}: raise its limit"
        )
    if is_log(target) and plan.scatters and not plan.is_nested:
        raise UsageError(
            f"of {plan.name!r} two groups each have read what the other one has not, and some messages find another "
            "partition by themselves, since they have no key: run the services on without new messages until one group "
            "has read all that the other one has (antiphon groups shows it)"
        )


def _require_same(target: Broker, plan: TopicPlan, state: TopicState) -> None:
    if state.partitions != plan.state.partitions:
        raise UsageError(
            f"topic {plan.name!r} has {state.partitions} partitions on {target.url} and {plan.state.partitions} where "
            "it comes from, so that keys would lose their order: delete it there, if it is not needed"
        )


async def _require_new(source: Log, target: Log, plan: TopicPlan) -> None:
    """Nothing of it may be there: then it was carried, by a move whose progress is in another file."""
    there = (await Arrivals.look(target, plan.name, {})).count()
    if there and (known := there.keys() & (await readers_of(source, plan)).keys()):
        raise UsageError(
            f"{target.url} has {len(known)} messages of {plan.name!r} already that are to be carried: is it the same "
            "broker by another URL? If not, go on where the progress of that move is (--progress), or delete the topic "
            "there"
        )
