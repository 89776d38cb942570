"""What is there to be carried: which messages of each topic, and what each group has read of them?"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from msgspec import Struct

from antiphon.brokers.lags import lags_of
from antiphon.brokers.placement import place
from antiphon.brokers.ports import Delivery, Lag, TopicState
from antiphon.brokers.reply_topics import PREFIX
from antiphon.errors import UnknownTopicError, UsageError
from antiphon.moving.reading import Log, Readers, read

Starts = Mapping[int, str]
"""After which position each partition is read, by its number; from its start where it is left out."""


class Choice(Struct, frozen=True, kw_only=True):
    """What is to be moved: these topics or all, with what groups have not read or with everything.

    For so long as `watch` the log is looked at first: whoever publishes is not stopped yet.
    """

    topics: Sequence[str] = ()
    everything: bool = False
    watch: timedelta = timedelta(seconds=2)


class TopicPlan(Struct, frozen=True, kw_only=True):
    """A topic to be carried. `firsts` are as `Readers` wants them; `unread` counts what each group has not read.

    `shares` are the sets of groups that have read the same messages, the largest first. `largest` is the longest data.
    `scatters` says whether some messages find another partition by themselves than the one that they lie in.
    """

    state: TopicState
    starts: Starts
    ends: Mapping[int, str]
    firsts: Mapping[str, Mapping[int, str | None]]
    unread: Mapping[str, int]
    messages: int
    largest: int
    shares: Sequence[frozenset[str]]
    scatters: bool

    @property
    def name(self) -> str:
        return self.state.name

    @property
    def is_nested(self) -> bool:
        """Whether of any two groups one has read all that the other has, as far as it is carried."""
        return all(after <= before for before, after in zip(self.shares, self.shares[1:], strict=False))


async def chosen_of(log: Log, choice: Choice) -> list[TopicState]:
    """The topics to be moved. Raises UnknownTopicError.

    Those of replies are never among them: whoever asked over the log does not wait any more, and asks elsewhere next.
    """
    states = [state for state in await log.topics() if not state.name.startswith(PREFIX)]
    known = [state.name for state in states]
    for topic in choice.topics:
        if topic not in known:
            raise UnknownTopicError(topic, known)
    return [state for state in states if not choice.topics or state.name in choice.topics]


async def stand_of(log: Log, choice: Choice) -> dict[str, list[Lag]]:
    """Where the groups of the chosen topics stand, by group.

    Raises UnknownTopicError, and UsageError while a group has members or reads topics that are not chosen.
    """
    chosen = {state.name for state in await chosen_of(log, choice)}
    stand = await lags_of(log, sorted(await log.groups()))
    concerned = {
        group: list(lags) for group, lags in stand.items() if any(lag.partition.topic in chosen for lag in lags)
    }
    require_stopped(log.url, concerned)
    for group, lags in concerned.items():
        if others := {lag.partition.topic for lag in lags} - chosen:
            raise UsageError(
                f"group {group!r} also reads {', '.join(sorted(others))}, and a service has one broker: "
                "choose these topics, too"
            )
    return concerned


def require_stopped(url: str, stand: Mapping[str, Sequence[Lag]]) -> None:
    """Raise UsageError naming the members that still read."""
    live = {(group, lag.owner) for group, lags in stand.items() for lag in lags if lag.owner is not None}
    if live:
        told = ", ".join(f"{member} of group {group!r}" for group, member in sorted(live))
        raise UsageError(f"{url} is still read by {told}: stop the services with SIGTERM, then move them")


async def watch(log: Log, topics: Iterable[str], for_: timedelta) -> None:
    """Raise UsageError when anything is published meanwhile."""
    if for_ <= timedelta():
        return
    before = {topic: await log.ends(topic) for topic in topics}
    await asyncio.sleep(for_.total_seconds())
    await require_unchanged(log, before)


async def require_unchanged(log: Log, before: Mapping[str, Mapping[int, str]]) -> None:
    """Raise UsageError naming the topics that end elsewhere by now."""
    changed = [topic for topic, ends in before.items() if await log.ends(topic) != ends]
    if changed:
        raise UsageError(
            f"somebody still publishes to {', '.join(changed)} of {log.url}: stop whoever does, and run this again; "
            "what was carried by then is not carried twice"
        )


async def survey(
    log: Log, choice: Choice, stand: Mapping[str, Sequence[Lag]], begun: Mapping[str, Starts]
) -> list[TopicPlan]:
    """A plan for each topic. `begun` says where the carrying of topics started that was not finished.

    Raises UnknownTopicError, and UsageError for what is none of the wire forms.
    """
    return [await _plan(log, choice, stand, state, begun.get(state.name)) for state in await chosen_of(log, choice)]


async def _plan(
    log: Log, choice: Choice, stand: Mapping[str, Sequence[Lag]], state: TopicState, begun: Starts | None
) -> TopicPlan:
    topic = state.name
    ends = await log.ends(topic)
    lags = {
        group: {lag.partition.number: lag for lag in found if lag.partition.topic == topic}
        for group, found in stand.items()
        if any(lag.partition.topic == topic for lag in found)
    }
    starts = begun if begun is not None else _starts(choice, ends, lags.values())
    firsts = {group: {number: await _first(log, topic, ends, number, of.get(number)) for number in ends}
              for group, of in lags.items()}  # fmt: skip
    seen, readers = _Seen(state.partitions), Readers(firsts)
    async for chunk in read(log, topic, starts):
        for delivery in chunk:
            seen.take(delivery, readers.of(delivery))
    return TopicPlan(
        state=state,
        starts=starts,
        ends=ends,
        firsts=firsts,
        unread={group: seen.messages - seen.read[group] for group in firsts},
        messages=seen.messages,
        largest=seen.largest,
        shares=sorted(seen.shares, key=len, reverse=True),
        scatters=seen.scatters,
    )


def _starts(choice: Choice, ends: Mapping[int, str], lags: Iterable[Mapping[int, Lag]]) -> Starts:
    """Where the group stands that is furthest behind, in each partition; at the end where nobody reads."""
    if choice.everything:
        return {}
    lags = list(lags)
    if not lags:
        return ends
    behind = {number: [of[number] for of in lags if number in of] for number in ends}
    return {
        number: max(found, key=lambda lag: lag.messages).position
        for number, found in behind.items()
        if len(found) == len(lags)
    }


async def _first(log: Log, topic: str, ends: Mapping[int, str], number: int, lag: Lag | None) -> str | None:
    """The position of what a group reads next in a partition."""
    if lag is not None and lag.messages == 0:
        return None
    after = {each: end for each, end in ends.items() if each != number}
    if lag is not None:
        after[number] = lag.position
    found = await log.browse(topic, after, 1)
    return found[0].position if found else None


class _Seen:
    """What was seen of a topic."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self.messages = self.largest = 0
        self.read: Counter[str] = Counter()
        self.shares: set[frozenset[str]] = set()
        self.scatters = False

    def take(self, delivery: Delivery, readers: frozenset[str]) -> None:
        if delivery.problem is not None:
            raise UsageError(
                f"{delivery!r} is none of the wire forms, so that it cannot be carried: let its group read it first, "
                "which parks it"
            )
        message = delivery.message
        self.messages += 1
        self.largest = max(self.largest, len(message.data or b""))
        self.read.update(readers)
        self.shares.add(readers)
        if message.key is None or place(message.key, self._partitions) != delivery.partition.number:
            self.scatters = True
