"""What of what is carried has arrived, where does it lie, and where do the groups stand in it?"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence

from antiphon.brokers.ports import Lag, Partition
from antiphon.errors import BrokerError, UsageError
from antiphon.moving.reading import Log, Readers, read
from antiphon.moving.survey import TopicPlan
from antiphon.storage.moving import Place, by_identity


class Arrivals:
    """The messages of a topic behind where it ended before anything was carried, in the order of each partition."""

    def __init__(self, base: Mapping[int, str]) -> None:
        self._base = base
        self.lanes: dict[int, list[tuple[str, str]]] = {number: [] for number in base}
        """Position and identity of each, by partition."""

    @classmethod
    async def look(cls, target: Log, topic: str, base: Mapping[int, str]) -> Arrivals:
        """See what is there now."""
        found = cls(base)
        async for chunk in read(target, topic, base):
            for delivery in chunk:
                lane = found.lanes.setdefault(delivery.partition.number, [])
                lane.append((delivery.position, delivery.message.identity))
        return found

    def is_base(self, number: int, position: str) -> bool:
        """Whether a partition ended there before anything was carried."""
        return self._base.get(number) == position

    def count(self) -> Counter[str]:
        """How often each message is there, by identity."""
        return Counter(identity for lane in self.lanes.values() for _, identity in lane)

    def positions(self, group: str, readers: Mapping[str, Sequence[frozenset[str]]]) -> dict[int, str]:
        """Where `group` has to stand in each partition, so that it reads what it had not read, and nothing else.

        `readers` are the groups that had read each message, by identity. Raises UsageError where no place is like that.
        """
        left = {identity: deque(copies) for identity, copies in readers.items()}
        found = dict(self._base)
        for number, lane in self.lanes.items():
            is_unread = False
            for position, identity in lane:
                copies = left.get(identity)
                if copies is None or group not in copies.popleft():
                    is_unread = True
                elif is_unread:
                    raise UsageError(
                        f"group {group!r} had read message {identity}, but not one that lies before it in partition "
                        f"{number} now: somebody else published there meanwhile; delete the topic, and move it again"
                    )
                else:
                    found[number] = position
        return found

    def unread(self, group: str, readers: Mapping[str, Sequence[frozenset[str]]]) -> Mapping[str, Sequence[Place]]:
        """Where each message lies that `group` had not read, by identity."""
        return by_identity(
            [
                (identity, (number, position))
                for number, lane in self.lanes.items()
                for position, identity in lane
                if any(group not in copy for copy in readers.get(identity, ()))
            ]
        )


async def readers_of(source: Log, plan: TopicPlan) -> dict[str, list[frozenset[str]]]:
    """Of each message to be carried the groups that have read it, by identity; of one that is there twice, twice."""
    readers, found = Readers(plan.firsts), defaultdict[str, list[frozenset[str]]](list)
    async for chunk in read(source, plan.name, plan.starts):
        for delivery in chunk:
            found[delivery.message.identity].append(readers.of(delivery))
    return found


def require_whole(topic: str, arrived: Counter[str], readers: Mapping[str, Sequence[frozenset[str]]]) -> None:
    """Raise BrokerError where something did not arrive, or arrived twice."""
    wanted = Counter({identity: len(copies) for identity, copies in readers.items()})
    if missing := wanted - arrived:
        raise BrokerError(
            f"{_first(missing)} of {topic!r} did not arrive, and {missing.total() - 1} more: run it again"
        )
    if twice := Counter({identity: arrived[identity] for identity in wanted}) - wanted:
        raise BrokerError(
            f"{_first(twice)} of {topic!r} arrived once too often, and {twice.total() - 1} more, since something was "
            "still under way when a move was interrupted: delete the topic on the other broker, and move it again"
        )


def _first(found: Iterable[str]) -> str:
    return f"message {next(iter(found))}"


def changes(topic: str, wanted: Mapping[int, str], stands: Sequence[Lag], arrivals: Arrivals) -> dict[Partition, str]:
    """Which of these positions have to be set.

    One that stands behind its wanted position went on since it was set. One that had read nothing of what is carried
    stays where it is, if it is anywhere: what lies before that is to be read, too.
    """
    at = {lag.partition.number: lag.position for lag in stands if lag.partition.topic == topic}
    return {
        Partition(topic, number): position
        for number, position in wanted.items()
        if number not in at
        or not (arrivals.is_base(number, position) or _went_on(arrivals, number, position, at[number]))
    }


def _went_on(arrivals: Arrivals, number: int, wanted: str, at: str) -> bool:
    places = [place for place, _ in arrivals.lanes[number]]
    return at == wanted or (wanted in places and at in places[places.index(wanted) + 1 :])
