"""When the troubles are over: does everything come to rest, and is every message where it belongs?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from antiphon.errors import AntiphonError
from antiphon.storage.set_aside import AsideState
from antiphon.testing.simulation.kept import Kept
from antiphon.testing.simulation.member import Member, Stage
from antiphon.testing.simulation.operator import Operator
from antiphon.testing.simulation.record import Entry, Record
from antiphon.testing.simulation.world import World

_LOOKS = 240
_BETWEEN = 30.717
"""Seconds of simulated time between two looks, never in step with what runs: two hours together."""
_IN_VAIN = 20
"""Looks that find the same unrest, and nothing that is due later, after which none would find another."""


async def bring_to_rest(world: World, members: Sequence[Member], operator: Operator) -> None:
    """End the troubles, start whoever is down, and wait until nothing is left to do. Raises BrokenPromiseError."""
    world.trace.step += 1
    world.clear_up()
    unrest: list[str] = []
    in_vain = 0
    for _ in range(_LOOKS):
        before, unrest = unrest, await _look(world, members, operator)
        world.trace.raise_broken()
        if not unrest:
            return
        in_vain = in_vain + 1 if unrest == before and not await operator.is_due_later() else 0
        if in_vain > _IN_VAIN:
            break
    world.trace.fail(f"it does not come to rest: {'; '.join(unrest)}")
    world.trace.raise_broken()


async def _look(world: World, members: Sequence[Member], operator: Operator) -> list[str]:
    """Repair what is to be repaired, let time pass, and say what is not at rest."""
    for member in members:
        member.seat.frozen_until = 0.0
        if member.is_down:
            member.start()
        member.check()
    try:
        await operator.resume()
        await asyncio.sleep(_BETWEEN)
        return [*await _busy(members), *await operator.waiting(), *await _behind(world)]
    except AntiphonError as error:
        if not error.retryable:
            raise
        return [str(error)]


async def _busy(members: Sequence[Member]) -> list[str]:
    return [f"{member} is busy" for member in members if not await member.is_at_rest()]


async def _behind(world: World) -> list[str]:
    lags = [lag for group in sorted(world.record.sights) for lag in await world.broker.lag(group)]
    return [
        f"{lag.group} is {lag.messages} behind in {lag.partition.topic}/{lag.partition.number}, read by {lag.owner}"
        for lag in lags
        if lag.messages
    ]


async def check_end(world: World, stage: Stage, kept: Kept) -> None:
    """Every message is handled, ignored, dropped or kept; effects happened once, and in order."""
    for group in sorted(world.record.sights):
        stage.settled.check_all(group)
        _check_effects(world, stage, group)
        _check_order(world, group)
        _check_emitted(world, group)
    kept.check()
    kept.check_end()
    world.trace.raise_broken()


def _check_effects(world: World, stage: Stage, group: str) -> None:
    """What has a Transaction had its effects once, and is not kept besides."""
    record = world.record
    for entry in record.read_by(group):
        sight, effects = record.sight(group, entry), record.effects.get((group, entry.identity), [])
        if sight is None or not sight.effectively_once or not effects:
            continue
        if len(effects) > 1:
            world.trace.fail(f"{group}: {entry} had its effects {len(effects)} times")
        if len(record.copies[entry.identity]) > 1 or entry.partition is None or not sight.ordered:
            continue  # without an order nothing keeps what was set aside from being handled when it comes again
        state, reason = stage.settled.kept_as(group, entry.partition, entry.position) or (AsideState.BEHIND, "")
        # What was handled and comes again may wait behind a later one of its key, or come after its deadline: that it
        # was handled is only recognized when its turn comes. Where the store is not the broker's own, nothing fences
        # who stalled, and handles what was parked meanwhile.
        if not world.is_apart and state is not AsideState.BEHIND and reason != "deadline":
            world.trace.fail(f"{group}: {entry} is handled, and {state.name.lower()} as well")


def _check_emitted(world: World, group: str) -> None:
    """What was emitted with effects was published, and that of one key in the order of the effects."""
    record, places = world.record, dict[tuple[str, str], tuple[int, Entry]]()
    first = {copies[0].message.id: copies[0] for copies in record.copies.values()}
    done = [(effects[0], entry) for entry in record.read_by(group) if (effects := _effects(record, group, entry))]
    for _, entry in sorted(done, key=lambda pair: pair[0]):
        emitted = (record.case(group, entry).returned or [()])[-1]
        lost = [id for id in emitted if id not in first]
        if lost:
            world.trace.fail(f"{group}: what {entry} led to is committed, and {len(lost)} of it never published")
        for made in (first[id] for id in emitted if id in first and world.keeps_order and entry.lane is not None):
            if made.lane is None or not _is_ordered(record, group, entry):
                continue
            number, cause = places.get(made.lane, (0, entry))
            if made.number < number:
                world.trace.fail(f"{group}: what {entry} led to was published before what {cause} did, which was first")
            places[made.lane] = made.number, entry


def _effects(record: Record, group: str, entry: Entry) -> Sequence[int]:
    return record.effects.get((group, entry.identity), ())


def _is_ordered(record: Record, group: str, entry: Entry) -> bool:
    sight = record.sight(group, entry)
    return sight is not None and sight.ordered


def _check_order(world: World, group: str) -> None:
    """Effects of one key came in the order of their messages."""
    record = world.record
    for entries in record.lanes.values() if world.keeps_order else ():
        last = 0
        for entry in entries:
            sight, effects = record.sight(group, entry), record.effects.get((group, entry.identity), [])
            if sight is None or not sight.ordered or not effects or record.copies[entry.identity][0] is not entry:
                continue
            if record.case(group, entry).is_dropped:
                continue  # another copy may have been handled in its place, later
            if effects[0] < last:
                world.trace.fail(f"{group}: {entry} had its effects before what was published before it")
            last = effects[0]
