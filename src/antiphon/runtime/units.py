"""What is attempted at once: one message, or the list of a batch handler."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from antiphon.runtime.route import Route
from antiphon.runtime.work import Work, read
from antiphon.storage.set_aside import Attempt


class Unit:
    """One or several works of one route: their event (or list of events), or why it cannot be read."""

    __slots__ = ("attempts", "details", "error", "event", "works")

    def __init__(self, works: Sequence[Work]) -> None:
        self.works = list(works)
        self.attempts: list[Attempt] = list(works[0].past)
        self.event: object = None
        self.error: Exception | None = None
        self.details: object = None
        self.read()

    @property
    def route(self) -> Route:
        return self.works[0].route

    @property
    def last(self) -> Work:
        """The work that what is emitted is caused by."""
        return self.works[-1]

    def read(self) -> None:
        """Decode; a failure is kept, to be handled as one of the handler."""
        try:
            events = [read(work.route, work.delivery.message) for work in self.works]
        except Exception as error:
            self.error = error
        else:
            self.event = events[0] if self.route.batch_size is None else events

    def keep(self, marks: Sequence[bool]) -> list[Work]:
        """Keep the works marked as new; returns the others."""
        dropped = [work for work, fresh in zip(self.works, marks, strict=True) if not fresh]
        if dropped and len(dropped) < len(self.works):
            self.works = [work for work, fresh in zip(self.works, marks, strict=True) if fresh]
            self.read()
        return dropped

    def parts(self) -> list[Unit]:
        """Each work alone, so that only the bad one of a batch is parked."""
        return [Unit([work]) for work in self.works]


def units_of(works: Iterable[Work]) -> list[Unit]:
    """Units in order: one for each work, and one for each neighboring run of a batch handler, up to its size.

    A run is of one partition, since partitions wait, and are lost, each for itself. What failed before is alone.
    """
    units: list[Unit] = []
    run: list[Work] = []
    for work in works:
        size = work.route.batch_size
        if run and (size is None or len(run) >= size or not _are_together(run[0], work)):
            units.append(Unit(run))
            run = []
        if size is None:
            units.append(Unit([work]))
        else:
            run.append(work)
    if run:
        units.append(Unit(run))
    return units


def _are_together(one: Work, other: Work) -> bool:
    same = one.route is other.route and one.delivery.partition == other.delivery.partition
    return same and not one.past and not other.past


def tried_together(works: Sequence[Work]) -> Iterator[list[Work]]:
    """Works of a batch as they are tried: one that has failed before is alone, so that it spoils nobody else's."""
    for has_failed, neighbors in groupby(works, lambda work: bool(work.past)):
        if has_failed:
            yield from ([work] for work in neighbors)
        else:
            yield list(neighbors)
