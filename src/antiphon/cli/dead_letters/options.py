"""The options that commands about dead letters share: which ones, where they are, and who asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from antiphon.cli.option_sets import OptionSet
from antiphon.cli.options import StoreOption
from antiphon.cli.session import settings_for_store
from antiphon.errors import UsageError
from antiphon.runtime.settings import Settings
from antiphon.storage.letter_query import LetterQuery

_WHICH = "Which dead letters"


def _which(*names: str, help: str, metavar: str | None = None) -> object:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=_WHICH, show_default=False)


IdArgument = Annotated[
    str,
    typer.Argument(metavar="ID", help="The dead letter: its id, or the beginning of it.", show_default=False),
]
ByOption = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who does it; you, when not given.")]
UncheckedOption = Annotated[bool, typer.Option("--unchecked", help="Do not ask the modules what handlers there are.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass(frozen=True, kw_only=True)
class Where(OptionSet):
    """Where dead letters are, and how results are printed."""

    broker: Annotated[
        str | None,
        typer.Option("--broker", "-b", metavar="URL", help="The broker; from antiphon.toml when not given."),
    ] = None
    store: StoreOption = None
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text for people.")] = False

    def settings(self, group: str | None = None) -> Settings:
        """With the store decided; where several are possible, as that of the service of `group`. Raises UsageError."""
        return settings_for_store(self.broker, self.store, group)


@dataclass(frozen=True, kw_only=True)
class Which(OptionSet):
    """Dead letters that fit everything that is given."""

    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Their ids, or the beginnings of these.", show_default=False),
    ] = None
    group: Annotated[str | None, _which("--group", "-g", help="Of this consumer group.")] = None
    handler: Annotated[str | None, _which("--handler", help="Given up by this handler.")] = None
    topic: Annotated[str | None, _which("--topic", "-t", help="From this topic.")] = None
    key: Annotated[str | None, _which("--key", help="Of this key.")] = None
    event: Annotated[str | None, _which("--type", metavar="EVENT", help="Events of this name.")] = None
    reason: Annotated[str | None, _which("--reason", help="Given up for this, as ValueError.")] = None
    fingerprint: Annotated[str | None, _which("--fingerprint", help="That failed alike.")] = None
    message: Annotated[str | None, _which("--message", metavar="ID", help="The message of this id.")] = None
    tenant: Annotated[str | None, _which("--tenant", help="Of this tenant.")] = None
    since: Annotated[str | None, _which("--since", metavar="TIME", help="Parked then or later.")] = None
    until: Annotated[str | None, _which("--until", metavar="TIME", help="Parked before that.")] = None
    text: Annotated[str | None, _which("--text", help="With this in an error's class or text.")] = None

    def query(self) -> LetterQuery:
        """What was asked. Raises UsageError for a time that is none."""
        return LetterQuery(
            ids=tuple(self.ids or ()),
            group=self.group,
            handler=self.handler,
            topic=self.topic,
            key=self.key,
            type=self.event,
            reason=self.reason,
            fingerprint=self.fingerprint,
            message=self.message,
            tenant=self.tenant,
            since=_moment("--since", self.since),
            until=_moment("--until", self.until),
            text=self.text,
        )


def _moment(option: str, written: str | None) -> datetime | None:
    if written is None:
        return None
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        raise UsageError(f"{option} {written}: write a time as in 2026-01-31T12:00Z") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
