"""Does what lies in the store agree with what was seen: attempts, delays, and what waits behind what?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from antiphon.resilience import Fault
from antiphon.storage.dead_letters import find
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.set_aside import AsideState, Attempt, list_waiting
from antiphon.testing.simulation.loop import at_once
from antiphon.testing.simulation.record import Entry, Sight
from antiphon.testing.simulation.watch import Watch
from antiphon.testing.simulation.world import World

ALL = 1_000_000
_OTHER_REASONS = ("deadline", "time", "crash")
"""Of what is parked for something else than its last error."""


_SOON = timedelta(seconds=1)
"""From the end of an attempt until what follows is set aside."""


class Kept:
    """Checks what was set aside."""

    def __init__(self, world: World, watch: Watch) -> None:
        self._world, self._record, self._watch = world, world.record, watch

    def check(self) -> None:
        """Look at all of it."""
        store = self._world.store
        for stored in at_once(find(store, LetterQuery(), ALL)):
            letter = stored.letter
            entry = self._record.of(letter.message)
            self._check_attempts(letter.group, entry, letter.attempts)
            self._check_parked(letter.group, entry, letter.attempts, letter.reason)
        for item in at_once(list_waiting(store, limit=ALL)):
            entry = self._record.of(item.message)
            self._check_attempts(item.group, entry, item.attempts)
            if item.state is AsideState.DELAYED and item.due_at is not None:
                self._check_delay(item.group, entry, item.attempts, item.due_at - item.since)

    def check_end(self) -> None:
        """When all is at rest: what waits, waits behind something that was parked."""
        store = self._world.store
        parked = {
            (each.letter.group, each.letter.topic, each.letter.lane)
            for each in at_once(find(store, LetterQuery(), ALL))
        }
        for item in at_once(list_waiting(store, limit=ALL)):
            if item.state is AsideState.DELAYED or (item.group, item.topic, item.lane) not in parked:
                entry = self._record.of(item.message)
                self._world.trace.fail(f"{item.group}: {entry} is {item.state.name.lower()} forever")

    def _sight(self, group: str, entry: Entry) -> Sight:
        sight = self._record.sight(group, entry)
        assert sight is not None, "what was set aside has a handler"
        return sight

    def _check_attempts(self, group: str, entry: Entry, attempts: Sequence[Attempt]) -> None:
        """What is recorded happened, once each, and no more often than the policy allows."""
        sight, texts = self._sight(group, entry), [attempt.text for attempt in attempts]
        known = [text for text in texts if text in self._watch.raised]
        strange = [text for text in known if self._watch.raised[text].run.entry.identity != entry.identity]
        allowed = self._record.case(group, entry).allowed(sight.policy)
        if strange or len(known) != len(set(known)):
            self._world.trace.fail(f"{group}: attempts are recorded of {entry} that were not made like that: {texts}")
        if len(attempts) > allowed:
            self._world.trace.fail(f"{group}: {len(attempts)} attempts of {entry} are recorded, {allowed} are allowed")

    def _check_parked(self, group: str, entry: Entry, attempts: Sequence[Attempt], reason: str) -> None:
        """What may pass was tried as often as the policy says."""
        sight = self._sight(group, entry)
        if self._record.case(group, entry).sent_again:
            return  # a redrive that is stopped takes back what it released, whatever became of it meanwhile
        raised = self._watch.raised.get(attempts[-1].text) if attempts else None
        if raised is None or raised.fault is not Fault.TRANSIENT or reason in _OTHER_REASONS or sight.settles_first:
            return
        allowed = self._record.case(group, entry).allowed(sight.policy)
        if len(attempts) < allowed:
            self._world.trace.fail(f"{group}: {entry} is parked after {len(attempts)} of {allowed} attempts")

    def _check_delay(self, group: str, entry: Entry, attempts: Sequence[Attempt], delay: timedelta) -> None:
        """It waits no longer than its policy says, and not beyond the time that this gives it."""
        policy = self._sight(group, entry).policy
        number = len(attempts) - policy.immediate
        if number < 1 or self._record.case(group, entry).sent_again:
            return
        if policy.within is not None and attempts[-1].time + delay > attempts[0].time + policy.within + _SOON:
            self._world.trace.fail(f"{group}: {entry} is to be tried again after its time is over")
        if delay > policy.backoff(number) and (group, entry.topic) not in self._record.breakers:
            self._world.trace.fail(f"{group}: {entry} waits {delay} after attempt {len(attempts)}")
