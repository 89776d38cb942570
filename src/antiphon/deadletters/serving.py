"""Does a service run that handles what a redrive sends, or a relay that publishes it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from antiphon.events.clock import Clock
from antiphon.storage.database import Database
from antiphon.storage.dead_letters import groups_in_redrive
from antiphon.storage.outbox import OUTBOX_GROUP
from antiphon.storage.relays import is_relay_alive
from antiphon.storage.runs import list_runs


class Serving(NamedTuple):
    """The groups of letters that a redrive has not done with: those of which a service runs now, and those without.

    That of what brokers refused is among them; a relay is its service.
    """

    running: Sequence[str]
    idle: Sequence[str]


async def serving_of(store: Database, clock: Clock, redrive: str) -> Serving:
    """Who runs now for this redrive; a service of another machine counts until it has been silent for a minute."""
    groups = await groups_in_redrive(store, redrive)
    now = clock.now()
    alive = {run.group for run in await list_runs(store) if not run.process.is_dead(run.heard_of, now)}
    if OUTBOX_GROUP in groups and await is_relay_alive(store, now):
        alive.add(OUTBOX_GROUP)
    return Serving([each for each in groups if each in alive], [each for each in groups if each not in alive])
