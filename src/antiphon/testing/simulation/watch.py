"""Which promises can break while handlers run: order, one at a time, gates, and what counts as an attempt?"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec import Struct

from antiphon.errors import HandlingError, ItemsFailedError
from antiphon.events.message import Message
from antiphon.observability.hooks import Failed
from antiphon.resilience import Fault
from antiphon.runtime.route import Mode
from antiphon.storage.database import Transaction
from antiphon.testing.simulation.record import Entry, Sight
from antiphon.testing.simulation.seat import Seat
from antiphon.testing.simulation.store import SimulatedTransaction
from antiphon.testing.simulation.world import World


class Run(Struct, eq=False):
    """One attempt at one message, from its begin to its end."""

    seat: Seat
    group: str
    sight: Sight
    entry: Entry
    call: int
    """Messages of one batch share a call."""
    tx: Transaction | None = None
    delivery: int | None = None
    """The number of the broker's delivery; None where it came from what was set aside, or was lost before."""
    is_void: bool = False
    """Whether its process had lost the message, or loses it meanwhile: whatever it does counts no more."""
    held_until: float | None = None
    """If it was set aside before: until when it is held at least."""
    emitted: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.seat} {self.group}/{self.sight.handler} {self.entry}"


class Raised(Struct, frozen=True, eq=False):
    """An error that the simulator let a handler raise, and what it is to the policy."""

    error: BaseException
    run: Run
    fault: Fault
    text: str


class Watch:
    """Sees every attempt begin and end, and says when a promise is broken."""

    def __init__(self, world: World) -> None:
        self._world, self._record, self._trace = world, world.record, world.trace
        self.running: dict[Run, None] = {}
        self.raised: dict[str, Raised] = {}
        """By their text."""
        self._counted: set[str] = set()
        self._calls = 0
        self._provisional: dict[tuple[str, str], Transaction] = {}
        """What returned in a transaction that is not over: it is handled for whatever follows in that one."""

    def begin(
        self, seat: Seat, group: str, sight: Sight, messages: Sequence[Message], tx: Transaction | None
    ) -> list[Run]:
        """A call of a handler begins, on a message or on a batch."""
        self._calls += 1
        entries = [self._record.of(message) for message in messages]
        runs = [Run(seat, group, sight, entry, self._calls, tx) for entry in entries]
        for run, message in zip(runs, messages, strict=True):
            # What was set aside is another value, read from the store.
            self._look_up(run, is_claimed=message is not run.entry.message)
            self._trace.note(f"{run} begins{' in vain' if run.is_void else ''}")
            self._check(run, {each.identity for each in entries[: entries.index(run.entry)]})
            case = self._record.case(group, run.entry)
            case.begun, case.failed = case.begun + 1, False
            self._provisional.pop((group, run.entry.identity), None)
        self.running.update(dict.fromkeys(runs))
        return runs

    def succeed(self, run: Run) -> None:
        """It returned."""
        if run not in self.running:
            return
        del self.running[run]
        self._trace.note(f"{run} returns")
        case = self._record.case(run.group, run.entry)
        case.returned.append(run.emitted)
        run.seat.stopped.succeeded(run.group, run.entry)
        if run.tx is not None:
            self._provisional[run.group, run.entry.identity] = run.tx

    def fail(self, runs: Sequence[Run], error: BaseException) -> None:
        """A call raised, by itself or since it was canceled."""
        for index, run in enumerate(runs):
            if run not in self.running:
                continue
            del self.running[run]
            own = error.items.get(index, error) if isinstance(error, ItemsFailedError) else error
            self._trace.note(f"{run} raises {own!r}")
            case = self._record.case(run.group, run.entry)
            run.seat.stopped.failed(run.group, run.entry)
            case.failed = isinstance(own, Exception) or str(own) in self.raised

    def raises(self, raised: Raised, *, counts: bool) -> BaseException:
        """A handler is about to raise this; `counts` where it is one message's own failure."""
        self.raised[raised.text] = raised
        case = self._record.case(raised.run.group, raised.run.entry)
        case.raises += counts
        case.ignored = case.ignored or (counts and raised.fault is Fault.IGNORABLE)
        return raised.error

    def _look_up(self, run: Run, *, is_claimed: bool) -> None:
        """Whether it is still its process's own, and until when."""
        if is_claimed:
            run.held_until = run.seat.held_until(run.group, run.entry)
        else:
            run.delivery = run.seat.held_delivery(run.group, run.entry)
        run.is_void = run.held_until is None and run.delivery is None

    def _check(self, run: Run, before: Collection[str]) -> None:
        if run.seat.is_dead:
            self._trace.fail(f"{run} begins after its process died")
        if not run.is_void:
            self._check_alone(run)
            if run.sight.ordered and self._world.keeps_order:
                self._check_order(run, before)
        run.seat.stopped.check(run.group, run.sight, run.entry)
        case, deadline = self._record.case(run.group, run.entry), run.entry.message.deadline
        if deadline is not None and deadline <= self._world.clock.now() and not case.sent_again:
            self._trace.fail(f"{run} begins after its deadline")
        if run.sight.settles_first and case.begun and not case.failed:
            self._trace.fail(f"{run} begins a second time, though it is to run at most once")

    def _check_alone(self, run: Run) -> None:
        """Nobody else is at the same message, nor at another one of its key."""
        for other in [each for each in self.running if each.group == run.group and each.call != run.call]:
            if other.is_void:
                continue
            if self._has_lost(other):
                self._check_taken(run, other)
            elif self._are_rivals(run, other):
                self._trace.fail(f"{run} begins while {other} is at it")
            elif self._share_lane(run, other):
                self._trace.fail(f"{run} begins while {other} is at the same key")

    def _are_rivals(self, run: Run, other: Run) -> bool:
        """Whether both are at one message, and one of them is wrong.

        A queue does not say that a hold is over, so a process may be given again what it is still at.
        """
        is_known = self._world.keeps_order or run.held_until is not None or run.seat is not other.seat
        return is_known and run.entry is other.entry and (other.held_until is None) == (run.held_until is None)

    def _has_lost(self, other: Run) -> bool:
        """Whether what is at it lost it meanwhile, so that somebody else may be."""
        if other.held_until is not None:
            other.is_void = other.held_until < self._world.clock.monotonic()
        else:
            other.is_void = other.seat.held_delivery(other.group, other.entry) != other.delivery
        return other.is_void

    def _check_taken(self, run: Run, other: Run) -> None:
        """What a process lives to hold on to is not taken from it while it works on it."""
        is_held_on_to = other.held_until is not None or not self._world.keeps_order
        if run.entry is not other.entry or not is_held_on_to or other.seat.has_lost(other.delivery, other.held_until):
            return
        self._trace.fail(f"{run} begins, taken from {other}, which is at it and could have kept it")

    def _share_lane(self, run: Run, other: Run) -> bool:
        is_kept = run.sight.ordered and other.sight.ordered and self._world.keeps_order
        return is_kept and run.entry is not other.entry and None is not run.entry.lane == other.entry.lane

    def _check_order(self, run: Run, before: Collection[str]) -> None:
        """Whatever was published before it, of its key, is done, or stands `before` it in its batch."""
        lane = run.entry.lane
        for earlier in () if lane is None else self._record.lanes[lane]:
            if earlier.identity == run.entry.identity:
                return
            if earlier.identity not in before and not self._is_done(run.group, earlier):
                self._trace.fail(f"{run} begins before {earlier}, which came first and is not done")
                return

    def _is_done(self, group: str, entry: Entry) -> bool:
        sight, case = self._record.sight(group, entry), self._record.case(group, entry)
        if sight is None or not sight.ordered or sight.settles_first or self._record.is_finished(group, entry):
            return True
        if sight.mode in (Mode.SHARED, Mode.OWN):
            tx = self._provisional.get((group, entry.identity))
            return isinstance(tx, SimulatedTransaction) and not tx.is_over
        return bool(case.returned)

    def refresh(self) -> None:
        """Learn anew until when those are held that were set aside before."""
        for run in self.running:
            if run.held_until is not None:
                run.held_until = run.seat.held_until(run.group, run.entry) or run.held_until

    def counted(self, seat: Seat, group: str, failed: Failed) -> None:
        """The runtime counts a failed attempt."""
        entry = self._record.of(failed.message)
        sight, case = self._record.sight(group, entry), self._record.case(group, entry)
        assert sight is not None, "what failed has a handler"
        told = f"{seat} {group}/{failed.handler} {entry}"
        self._trace.note(f"{told}: attempt {failed.attempt} is counted as failed")
        allowed = case.allowed(sight.policy)
        if failed.attempt > allowed:
            self._trace.fail(f"{told}: attempt {failed.attempt} of {allowed} that its policy allows")
        seat.stopped.check_counted(group, entry, told)
        self._check_counted(failed.error, told)

    def _check_counted(self, error: BaseException, told: str) -> None:
        cause = error.__cause__ if isinstance(error, HandlingError) and error.__cause__ is not None else error
        text = str(cause)
        if text in self.raised:
            if text in self._counted:
                self._trace.fail(f"{told}: one failure counts twice")
            self._counted.add(text)
        elif type(error) is HandlingError:
            self._trace.fail(f"{told}: counts as an attempt, though it was only interrupted")
