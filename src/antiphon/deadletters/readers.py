"""Which handler of the present code would get a dead letter, and as what event?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from antiphon.errors import DeadLetterError


class Reader(NamedTuple):
    """A handler as declared now: of whom, and the class that it reads an event as."""

    group: str
    topic: str
    name: str
    handler: str
    event: type
    accepts_newer: bool = False


class Readers:
    """The handlers of the modules that are at hand."""

    def __init__(self, readers: Iterable[Reader] = ()) -> None:
        self._by_event = {(reader.group, reader.topic, reader.name): reader for reader in readers}

    def find(self, group: str, topic: str, type: str) -> Reader:
        """Who reads these messages. Raises DeadLetterError, saying what there is instead, when nobody does."""
        reader = self._by_event.get((group, topic, type))
        if reader is None:
            raise DeadLetterError(f"{self._missing(group, topic, type)}: {_MEND}")
        return reader

    def require(self, places: Iterable[tuple[str, str, str]]) -> None:
        """Raise DeadLetterError unless each group has a handler for its topic and type."""
        for group, topic, type in dict.fromkeys(places):
            self.find(group, topic, type)

    def _missing(self, group: str, topic: str, type: str) -> str:
        groups = sorted({reader.group for reader in self._by_event.values()})
        if group not in groups:
            return f"no service of group {group!r} is in these modules; they have {_listed(groups, group)}"
        read = sorted({reader.name for reader in self._by_event.values() if reader.group == group})
        if type in read:
            return f"group {group!r} has no handler any more for {type!r} from topic {topic!r}"
        return f"group {group!r} has no handler any more for {type!r}; it reads {_listed(read, type)}"


_MEND = "name the modules that have it with --module, or say --unchecked to go on all the same"


def _listed(names: Sequence[str], wanted: str) -> str:
    from difflib import get_close_matches  # only after a mistake: it would slow every start

    close = get_close_matches(wanted, names, n=1)
    return f"{', '.join(names) or 'none'}{f' (did you mean {close[0]!r}?)' if close else ''}"
