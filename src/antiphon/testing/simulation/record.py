"""What is known of every message, apart from what the runtime believes: where it lies, who ran it, how that ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from msgspec import Struct, field, structs

from antiphon.brokers.ports import Delivery, Partition
from antiphon.events.message import Message, Outgoing
from antiphon.resilience import Retry
from antiphon.runtime.route import Mode, Route

_LABEL = "simulated"
"""The extension that tells one copy of a message from another of the same id."""

Key = tuple[str, str]
"""Topic and key."""


class Entry(Struct, eq=False):
    """One message as it was published once; published again it is another entry with the same identity."""

    number: int
    topic: str
    message: Message
    partition: Partition | None = None
    """Known once it was delivered."""
    position: str = ""

    @property
    def identity(self) -> str:
        return self.message.identity

    @property
    def lane(self) -> Key | None:
        """What order may be kept for."""
        return None if self.message.key is None else (self.topic, self.message.key)

    def __str__(self) -> str:
        return f"{self.message.type}#{self.number}"


class Sight(Struct, frozen=True):
    """What of a route decides what it promises."""

    handler: str
    mode: Mode
    policy: Retry
    ordered: bool
    settles_first: bool
    effectively_once: bool

    @classmethod
    def of(cls, route: Route, *, once: bool) -> Sight:
        """That of a route; `once` where its effects are to happen once."""
        return cls(route.name, route.mode, route.policy, route.ordered, route.settles_first, once)


class Case(Struct, eq=False):
    """What one group did with one message, whatever its copies."""

    begun: int = 0
    returned: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    """Of each attempt that returned: the ids of what it emitted."""
    ignored: bool = False
    """An attempt failed with something that its policy ignores."""
    failed: bool = False
    """Its last attempt raised."""
    raises: int = 0
    """How often an attempt raised."""
    sent_again: int = 0
    """How often an operator sent it again."""
    is_dropped: bool = False
    """Whether an operator dropped it as a dead letter; its other copies need not be handled then."""

    def allowed(self, policy: Retry) -> int:
        """How many attempts may be counted by now: each time it is sent again, as many more as at first."""
        return (policy.immediate + policy.delayed + 1) * (1 + self.sent_again)


class Record:
    """Everything that was published, and what each group did with it."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.ids: set[str] = set()
        """The ids of everything that the broker holds or held."""
        self.lanes: defaultdict[Key, list[Entry]] = defaultdict(list)
        self.copies: defaultdict[str, list[Entry]] = defaultdict(list)
        self.sights: defaultdict[str, dict[tuple[str, str], Sight]] = defaultdict(dict)
        """Of each group, by topic and type."""
        self.effects: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        """Of each group and identity: the places of its committed effects among all."""
        self.breakers: set[tuple[str, str]] = set()
        """Groups and topics that a breaker may stop: what fails there waits as long as that rests."""
        self._cases: dict[tuple[str, str], Case] = {}
        self._last = 0

    def label(self, outgoing: Sequence[Outgoing]) -> list[Outgoing]:
        """Them with a mark each by which they are known wherever they go."""
        labeled: list[Outgoing] = []
        for topic, message in outgoing:
            self._last += 1
            extensions = {**message.extensions, _LABEL: str(self._last)}
            labeled.append(Outgoing(topic, structs.replace(message, extensions=extensions)))
        return labeled

    def publish(self, labeled: Sequence[Outgoing]) -> list[Entry]:
        """Note that the broker holds these now, in this order."""
        entries = [Entry(_number_of(message), topic, message) for topic, message in labeled]
        for entry in entries:
            self.entries[entry.number] = entry
            self.ids.add(entry.message.id)
            self.copies[entry.identity].append(entry)
            if entry.lane is not None:
                self.lanes[entry.lane].append(entry)
        return entries

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Learn where these lie."""
        for delivery in deliveries:
            entry = self.of(delivery.message)
            entry.partition, entry.position = delivery.partition, delivery.position

    def of(self, message: Message) -> Entry:
        """The entry of a message that came back."""
        return self.entries[_number_of(message)]

    def case(self, group: str, entry: Entry) -> Case:
        """What a group did with it so far."""
        return self._cases.setdefault((group, entry.identity), Case())

    def sight(self, group: str, entry: Entry) -> Sight | None:
        """How a group handles it; None where it does not."""
        return self.sights[group].get((entry.topic, entry.message.type))

    def read_by(self, group: str) -> Iterator[Entry]:
        """What lies on the topics that a group reads."""
        topics = {topic for topic, _ in self.sights[group]}
        return (entry for entry in self.entries.values() if entry.topic in topics)

    def is_finished(self, group: str, entry: Entry) -> bool:
        """Whether a group is done with it for good, as far as anybody outside of its store can see."""
        sight = self.sight(group, entry)
        if sight is None:
            return True
        case = self.case(group, entry)
        if case.ignored or case.is_dropped or (sight.settles_first and case.begun > 0):
            return True
        if sight.mode in (Mode.SHARED, Mode.OWN):
            return (group, entry.identity) in self.effects
        return any(self.ids.issuperset(ids) for ids in case.returned)

    @property
    def attempts(self) -> int:
        """How many were begun."""
        return sum(case.begun for case in self._cases.values())


def _number_of(message: Message) -> int:
    return int(message.extensions[_LABEL])
