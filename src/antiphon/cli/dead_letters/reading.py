"""Which handlers do the user's modules have? Imported when it is asked, since it imports the whole runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from antiphon.cli.modules import load_services
from antiphon.deadletters.readers import Reader, Readers
from antiphon.runtime.service import Service
from antiphon.runtime.settings import Settings


def readers_of(modules: Sequence[str] | None, settings: Settings) -> Readers:
    """The handlers of these modules, or of those in `antiphon.toml`. Raises UsageError when there are none."""
    services = load_services(modules, settings)
    return Readers([reader for service in services for reader in _readers(service, settings)])


def _readers(service: Service, settings: Settings) -> Iterator[Reader]:
    described = service.describe(settings=settings)
    # What it reads comes first, so of an event that it emits, too, its class for reading is the last one put here.
    classes = {(each.topic, each.name): each.cls for each in reversed(service.events())}
    for handler in described.handlers:
        for event in handler.events:
            place = (described.group, event.topic, event.name)
            yield Reader(*place, handler.name, classes[event.topic, event.name], handler.newer == "accept")
