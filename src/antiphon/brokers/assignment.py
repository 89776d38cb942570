"""Who reads which partition: one lease algorithm, without I/O, over whatever a broker can hold a lease in.

Each member runs `plan` on the same shared state and does only its own part of the answer, in one atomic write
(or with a compare and swap per lease, on the epoch). Nobody leads. From equal state all members compute equal
targets, so each free partition is claimed by one of them and each surplus is given up by its owner.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from antiphon.brokers.ports import Partition


class Member(NamedTuple):
    """One reader of a group: what it reads, when it was last heard of, and whether it is known to be gone."""

    id: str
    topics: frozenset[str]
    heard: datetime
    is_dead: bool = False


class Lease(NamedTuple):
    """Who may read a partition until when. The epoch grows with every change of owner and fences the former one."""

    partition: Partition
    owner: str | None
    epoch: int
    expires: datetime


class Plan(NamedTuple):
    """What one member does next: leases to write as they stand here, and partitions to give up once drained."""

    claim: tuple[Lease, ...]
    renew: tuple[Lease, ...]
    give_up: tuple[Partition, ...]


def plan(me: str, members: Iterable[Member], leases: Iterable[Lease], now: datetime, ttl: timedelta) -> Plan:
    """What `me` claims, renews and gives up, so that in the end every partition has one owner and shares are fair.

    Fair: within topics that the same members read, no member has more than one partition more than another.
    Stable: a partition moves only when its owner is gone or has too many. A lease stays its owner's until it is
    given up or expires, or its owner is known to be dead; only then is it claimed, with a higher epoch.
    """
    alive = [m for m in members if m.id == me or (not m.is_dead and m.heard + ttl > now)]
    names = {m.id for m in alive}
    by_partition = {lease.partition: lease for lease in leases}
    held = {p: lease.owner for p, lease in by_partition.items() if lease.owner and _is_held(lease, me, names, now)}
    target = _targets(alive, by_partition, held)
    mine = [p for p, owner in held.items() if owner == me]
    free = [p for p in by_partition if p not in held and target.get(p) == me]
    until = now + ttl
    return Plan(
        claim=tuple(Lease(p, me, by_partition[p].epoch + 1, until) for p in free),
        renew=tuple(by_partition[p]._replace(expires=until) for p in mine),
        give_up=tuple(p for p in mine if target.get(p) != me),
    )


def _is_held(lease: Lease, me: str, alive: set[str], now: datetime) -> bool:
    # My own lease is mine until somebody raised its epoch, even when I was too slow to renew it.
    return lease.owner == me or (lease.owner in alive and lease.expires > now)


def _targets(
    alive: Sequence[Member], partitions: Iterable[Partition], held: Mapping[Partition, str]
) -> dict[Partition, str]:
    """Who should own what in the end; partitions of topics that nobody reads are left out."""
    pools: defaultdict[frozenset[str], list[Partition]] = defaultdict(list)
    readers: dict[str, frozenset[str]] = {}
    for partition in sorted(partitions):
        topic = partition.topic
        if topic not in readers:
            readers[topic] = frozenset(m.id for m in alive if topic in m.topics)
        pools[readers[topic]].append(partition)
    target: dict[Partition, str] = {}
    for pool, shared in pools.items():
        if pool:
            target.update(share_out(pool, shared, held))
    return target


def share_out(
    members: Iterable[str], partitions: Sequence[Partition], held: Mapping[Partition, str]
) -> dict[Partition, str]:
    """Give each partition to one of `members`: floor or ceiling of the fair share each, moving as few as can be."""
    owned: dict[str, list[Partition]] = {member: [] for member in members}
    for partition in partitions:
        if (owner := held.get(partition)) in owned:
            owned[owner].append(partition)
    # Whoever holds most now keeps the larger shares, so that the remainder does not wander.
    ranked = sorted(owned, key=lambda member: (-len(owned[member]), member))
    share, larger = divmod(len(partitions), len(ranked))
    quota = {member: share + (rank < larger) for rank, member in enumerate(ranked)}
    target = {p: member for member in ranked for p in _kept(owned[member], quota[member])}
    _place_rest(target, partitions, quota)
    return target


def _kept(owned: Sequence[Partition], quota: int) -> list[Partition]:
    """The `quota` partitions a member keeps: as even over its topics as they come."""
    ranks: Counter[str] = Counter()
    ranked: list[tuple[int, Partition]] = []
    for partition in sorted(owned):
        ranked.append((ranks[partition.topic], partition))
        ranks[partition.topic] += 1
    return [partition for _, partition in sorted(ranked)[:quota]]


def _place_rest(target: dict[Partition, str], partitions: Sequence[Partition], quota: Mapping[str, int]) -> None:
    """Give what has no owner to members below their quota, each to the one with the least of that topic."""
    total = Counter(target.values())
    per_topic = Counter((p.topic, member) for p, member in target.items())
    for partition in partitions:
        if partition in target:
            continue
        open_members = (m for m in quota if total[m] < quota[m])
        member = min(open_members, key=lambda m: (per_topic[partition.topic, m], total[m], m))
        target[partition] = member
        total[member] += 1
        per_topic[partition.topic, member] += 1
