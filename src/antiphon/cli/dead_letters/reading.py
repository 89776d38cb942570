"""Which handlers do the user's modules have? Imported when it is asked, since it imports the whole runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from antiphon.cli.event_types import event_types
from antiphon.cli.modules import load_services
from antiphon.deadletters.readers import Reader, Readers
from antiphon.errors import DeadLetterError
from antiphon.events.declare import declaration_of
from antiphon.outbox.refused import RELAY
from antiphon.runtime.service import Service
from antiphon.runtime.settings import Settings
from antiphon.storage.dead_letters import DeadLetter
from antiphon.storage.outbox import OUTBOX_GROUP


def readers_of(modules: Sequence[str] | None, settings: Settings) -> Readers:
    """The handlers of these modules, or of those in `antiphon.toml`. Raises UsageError when there are none."""
    services = load_services(modules, settings)
    return Readers([reader for service in services for reader in _readers(service, settings)])


def reader_of_refused(letter: DeadLetter, modules: Sequence[str] | None, settings: Settings) -> Reader:
    """What stands for the readers of a message that never left the outbox: its event, as it is emitted if it can be.

    An application that stages its events has no service. Raises DeadLetterError when these modules declare no such
    event, UsageError when there are none.
    """
    services = load_services(modules, settings, needed=False)
    # Of each service what it emits comes last; above all counts the one that emitted it.
    by_service = sorted(services, key=lambda service: service.name == letter.service)
    declared = [each for service in by_service for each in service.events()]
    others = [declaration_of(cls) for cls in event_types()]
    place = (letter.topic, letter.message.type)
    for each in (*reversed(declared), *others):
        if (each.topic, each.name) == place:
            return Reader(OUTBOX_GROUP, *place, RELAY, each.cls)
    raise DeadLetterError(
        f"these modules declare no event {place[1]!r} of topic {place[0]!r}: name the module that does with "
        "--module, or say --unchecked to go on all the same"
    )


def _readers(service: Service, settings: Settings) -> Iterator[Reader]:
    described = service.describe(settings=settings)
    # What it reads comes first, so of an event that it emits, too, its class for reading is the last one put here.
    classes = {(each.topic, each.name): each.cls for each in reversed(service.events())}
    for handler in described.handlers:
        for event in handler.events:
            place = (described.group, event.topic, event.name)
            yield Reader(*place, handler.name, classes[event.topic, event.name], handler.newer == "accept")
