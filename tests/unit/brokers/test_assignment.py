"""Do members that only share a table of leases end with fair, stable shares and never two owners?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from antiphon.brokers.assignment import Lease, Member, plan, share_out
from antiphon.brokers.ports import Partition

TTL = timedelta(seconds=10)
START = datetime(2026, 1, 1, tzinfo=UTC)


class Group:
    """A shared table of leases and its members, each of which acts on its own plan alone."""

    def __init__(self, topics: dict[str, int]) -> None:
        self.now = START
        self.members: dict[str, Member] = {}
        self.leases = {
            Partition(topic, number): Lease(Partition(topic, number), None, 0, START)
            for topic, count in topics.items()
            for number in range(count)
        }
        self.owners_by_epoch: dict[tuple[Partition, int], str] = {}
        self.moved = 0

    def join(self, name: str, topics: Sequence[str] | None = None) -> None:
        read = frozenset(topics if topics is not None else {p.topic for p in self.leases})
        self.members[name] = Member(name, read, self.now)

    def leave(self, name: str) -> None:
        del self.members[name]
        for partition in self.owned_by(name):
            self.leases[partition] = self.leases[partition]._replace(owner=None)

    def die(self, name: str, *, noticed: bool) -> None:
        self.members[name] = self.members[name]._replace(is_dead=noticed)

    def act(self, name: str, *, gives_up: bool = True) -> None:
        self.members[name] = self.members[name]._replace(heard=self.now)
        todo = plan(name, self.members.values(), self.leases.values(), self.now, TTL)
        for lease in (*todo.claim, *todo.renew):
            self.leases[lease.partition] = lease
        self.moved += len(todo.claim)
        for lease in todo.claim:
            assert self.owners_by_epoch.setdefault((lease.partition, lease.epoch), name) == name
        for partition in todo.give_up if gives_up else ():
            self.leases[partition] = self.leases[partition]._replace(owner=None)

    def rounds(self, names: Sequence[str], count: int = 3) -> None:
        for _ in range(count):
            for name in names:
                self.act(name)

    def owned_by(self, name: str) -> list[Partition]:
        return [p for p, lease in self.leases.items() if lease.owner == name]

    def shares(self, names: Sequence[str]) -> list[int]:
        return sorted(len(self.owned_by(name)) for name in names)


def settled(partitions: int, names: Sequence[str]) -> Group:
    group = Group({"orders": partitions})
    for name in names:
        group.join(name)
    group.rounds(names)
    group.moved = 0
    return group


def assert_fair(group: Group, names: Sequence[str]) -> None:
    assert sum(group.shares(names)) == len(group.leases)
    assert group.shares(names)[-1] - group.shares(names)[0] <= 1


@given(st.integers(1, 24), st.integers(1, 9))
def test_every_partition_gets_an_owner_and_shares_are_floor_or_ceiling(partitions: int, members: int) -> None:
    names = [f"m{number}" for number in range(members)]
    assert_fair(settled(partitions, names), names)


@given(st.integers(1, 24), st.integers(1, 9))
def test_nothing_moves_when_nothing_changes(partitions: int, members: int) -> None:
    names = [f"m{number}" for number in range(members)]
    group = settled(partitions, names)
    before = dict(group.leases)
    group.rounds(names)
    assert group.leases == before


@given(st.integers(1, 24), st.integers(1, 8))
def test_a_join_moves_no_more_than_the_newcomers_share(partitions: int, members: int) -> None:
    names = [f"m{number}" for number in range(members)]
    group = settled(partitions, names)
    group.join("new")
    group.rounds([*names, "new"])
    assert_fair(group, [*names, "new"])
    assert group.moved == len(group.owned_by("new"))


@given(st.integers(1, 24), st.integers(2, 9))
def test_a_leave_moves_only_what_the_leaver_had(partitions: int, members: int) -> None:
    names = [f"m{number}" for number in range(members)]
    group = settled(partitions, names)
    had = len(group.owned_by("m0"))
    group.leave("m0")
    group.rounds(names[1:])
    assert_fair(group, names[1:])
    assert group.moved == had


def test_a_member_known_dead_is_replaced_at_once_with_a_higher_epoch() -> None:
    group = settled(4, ["a", "b"])
    before = {p: group.leases[p].epoch for p in group.owned_by("a")}
    group.die("a", noticed=True)
    group.act("b")
    assert {p: group.leases[p].epoch for p in before} == {p: epoch + 1 for p, epoch in before.items()}
    assert group.shares(["b"]) == [4]


def test_a_silent_member_keeps_its_leases_until_they_expire() -> None:
    group = settled(4, ["a", "b"])
    group.now += TTL - timedelta(milliseconds=1)
    group.act("b")
    assert group.shares(["a", "b"]) == [2, 2]
    group.now += timedelta(milliseconds=1)
    group.act("b")
    assert group.shares(["a", "b"]) == [0, 4]


def test_a_slow_member_whose_leases_nobody_took_goes_on_with_its_epochs() -> None:
    group = settled(4, ["a"])
    before = {p: lease.epoch for p, lease in group.leases.items()}
    group.now += 3 * TTL
    group.act("a")
    assert {p: lease.epoch for p, lease in group.leases.items()} == before


def test_a_partition_is_not_claimed_while_its_owner_drains() -> None:
    group = settled(4, ["a"])
    group.join("b")
    group.act("a", gives_up=False)
    group.act("b")
    assert group.shares(["a", "b"]) == [0, 4]
    group.rounds(["a", "b"])
    assert group.shares(["a", "b"]) == [2, 2]


def test_members_get_only_topics_they_read() -> None:
    group = Group({"orders": 8, "payments": 8})
    group.join("old", ["orders"])
    group.join("new", ["orders", "payments"])
    group.rounds(["old", "new"])
    assert {p.topic for p in group.owned_by("old")} == {"orders"}
    assert Counter(p.topic for p in group.owned_by("new")) == {"orders": 4, "payments": 8}


def test_a_topic_that_nobody_reads_any_more_is_given_up() -> None:
    group = Group({"orders": 4})
    group.join("a")
    group.act("a")
    group.join("a", [])
    group.act("a")
    assert all(lease.owner is None for lease in group.leases.values())


def test_topics_read_by_the_same_members_are_shared_as_one_pool_and_each_is_spread() -> None:
    group = Group({f"topic{number}": 3 for number in range(4)})
    names = ["a", "b"]
    for name in names:
        group.join(name)
    group.rounds(names)
    assert group.shares(names) == [6, 6]
    assert all(len({group.leases[p].owner for p in group.leases if p.topic == f"topic{n}"}) == 2 for n in range(4))


@given(
    st.dictionaries(st.integers(0, 30), st.sampled_from("abcd")),
    st.integers(1, 31),
    st.sets(st.sampled_from("abcd"), min_size=1),
)
def test_sharing_out_keeps_what_fits_whatever_the_start(
    owners: dict[int, str], partitions: int, members: set[str]
) -> None:
    all_partitions = [Partition("t", n) for n in range(partitions)]
    held = {Partition("t", n): owner for n, owner in owners.items() if n < partitions}
    target = share_out(members, all_partitions, held)
    counts = [list(target.values()).count(member) for member in members]
    assert set(target) == set(all_partitions)
    assert max(counts) - min(counts) <= 1
    ceiling = -(-partitions // len(members))
    for member in members:
        had = [p for p, owner in held.items() if owner == member]
        kept = [p for p in had if target[p] == member]
        assert len(kept) >= min(len(had), partitions // len(members))
        assert len(kept) == len(had) or len(had) > ceiling - 1


class Turmoil(RuleBasedStateMachine):
    """Members come, go, die, hang and act in any order; the promises hold throughout."""

    names = st.sampled_from([f"m{number}" for number in range(5)])

    @initialize(orders=st.integers(1, 6), payments=st.integers(1, 6))
    def begin(self, orders: int, payments: int) -> None:
        self.group = Group({"orders": orders, "payments": payments})
        self.gone: set[str] = set()

    @rule(name=names, topics=st.sets(st.sampled_from(["orders", "payments"])))
    def join(self, name: str, topics: set[str]) -> None:
        if name not in self.gone:
            self.group.join(name, sorted(topics))

    @rule(name=names)
    def leave(self, name: str) -> None:
        if name in self.group.members:
            self.group.leave(name)

    @rule(name=names, noticed=st.booleans())
    def die(self, name: str, noticed: bool) -> None:
        if name in self.group.members:
            self.group.die(name, noticed=noticed)
            self.gone.add(name)

    @rule(name=names, gives_up=st.booleans())
    def act(self, name: str, gives_up: bool) -> None:
        if name in self.group.members and name not in self.gone:
            self.group.act(name, gives_up=gives_up)

    @rule(milliseconds=st.integers(1, 15_000))
    def wait(self, milliseconds: int) -> None:
        self.group.now += timedelta(milliseconds=milliseconds)

    def living(self) -> list[str]:
        return [name for name in self.group.members if name not in self.gone]

    @precondition(lambda self: self.living())
    @rule()
    def settle(self) -> None:
        self.group.now += TTL
        self.group.rounds(self.living(), count=4)
        read = {topic for name in self.living() for topic in self.group.members[name].topics}
        for partition, lease in self.group.leases.items():
            assert (lease.owner in self.living()) == (partition.topic in read)
        before = dict(self.group.leases)
        self.group.rounds(self.living())
        assert self.group.leases == before

    @invariant()
    def epochs_never_go_back(self) -> None:
        if not hasattr(self, "group"):
            return
        for partition, lease in self.group.leases.items():
            assert max((e for p, e in self.group.owners_by_epoch if p == partition), default=0) == lease.epoch


Turmoil.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestTurmoil = Turmoil.TestCase
