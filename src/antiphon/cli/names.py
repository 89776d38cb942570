"""Does every service and topic that `antiphon.toml` names exist in the modules that it names?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from antiphon.cli.event_types import event_types
from antiphon.errors import SettingsError
from antiphon.events.declare import declaration_of
from antiphon.runtime.service import Service
from antiphon.runtime.settings import Settings


def check_names(services: Sequence[Service], settings: Settings) -> None:
    """Raise SettingsError for a table about a service or topic that is not there: it would be ignored in silence."""
    _check("services", settings.overrides, {service.name for service in services}, settings)
    _check("topics", settings.topics, {declaration_of(cls).topic for cls in event_types()}, settings)


def _check(table: str, named: Iterable[str], known: set[str], settings: Settings) -> None:
    for name in named:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"they have {', '.join(sorted(known)) or 'none'}"
            raise SettingsError(f"{settings.file}: [{table}.{name}]: the modules have no such {table[:-1]}; {hint}")
