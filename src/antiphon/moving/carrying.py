"""How do messages get from a log to another broker, each once, however often the carrying begins again?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence

from antiphon.brokers.placement import place
from antiphon.brokers.ports import Delivery, Filling, Partition
from antiphon.events.message import Message, Outgoing
from antiphon.moving.arrivals import Arrivals
from antiphon.moving.reading import Log, Readers, read
from antiphon.moving.survey import TopicPlan


async def carry(source: Log, target: Log, plan: TopicPlan, base: Mapping[int, str]) -> int:
    """Publish what is not there yet; returns how many that were.

    What more groups have read goes first where messages find another partition than they had, so that in each
    partition what a group has read lies before what it has not.
    """
    left, published = (await Arrivals.look(target, plan.name, base)).count(), 0
    for share in plan.shares if plan.scatters else (None,):
        async for chunk in _of_share(source, plan, share):
            missing = [each for each in chunk if not _taken(left, each.message)]
            if missing:
                await target.publish([Outgoing(plan.name, each.message) for each in missing])
                published += len(missing)
    return published


def _taken(left: Counter[str], message: Message) -> bool:
    """Whether it is among what is there."""
    if left[message.identity] <= 0:
        return False
    left[message.identity] -= 1
    return True


async def _of_share(source: Log, plan: TopicPlan, share: frozenset[str] | None) -> AsyncGenerator[Sequence[Delivery]]:
    """What exactly these groups have read, or everything."""
    readers = Readers(plan.firsts)
    async for chunk in read(source, plan.name, plan.starts):
        yield [each for each in chunk if readers.of(each) == share or share is None]


async def fill(source: Log, target: Filling, plan: TopicPlan, group: str, handled: Iterable[str]) -> int:
    """Give a group what it has not read, and nothing else; returns how many those are.

    `handled` are the identities of what it has set aside already, which comes back from there.
    """
    await target.empty(group, plan.name)
    readers, left, filled = Readers(plan.firsts), Counter(handled), 0
    async for chunk in read(source, plan.name, plan.starts):
        unread = [each for each in chunk if group not in readers.of(each) and not _taken(left, each.message)]
        for number, messages in _by_partition(unread, plan.state.partitions).items():
            await target.fill(group, Partition(plan.name, number), messages)
        filled += len(unread)
    return filled


def _by_partition(deliveries: Collection[Delivery], partitions: int) -> Mapping[int, Sequence[Message]]:
    """Keys are placed as the broker places them; what has none keeps its partition."""
    found: defaultdict[int, list[Message]] = defaultdict(list)
    for each in deliveries:
        key = each.message.key
        found[each.partition.number if key is None else place(key, partitions)].append(each.message)
    return found
