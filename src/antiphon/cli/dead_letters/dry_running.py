"""`antiphon dead-letters dry-run`: what would the present handler do with this message? Nothing of it stays."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Annotated, NamedTuple

import typer

from antiphon.brokers.ports import Delivery, Partition
from antiphon.cli.dead_letters.options import IdArgument, Where
from antiphon.cli.failures import ExitCode
from antiphon.cli.messages import message_in_json, message_line
from antiphon.cli.modules import load_services
from antiphon.cli.option_sets import app_of
from antiphon.cli.options import ModulesOption
from antiphon.cli.output import print_json, print_text
from antiphon.cli.session import opened_store
from antiphon.deadletters.choosing import letter_of
from antiphon.errors import DeadLetterError, UsageError
from antiphon.events.message import Message, Outgoing
from antiphon.runtime.dry_run import DryRun, DryRunPlan, Statement
from antiphon.runtime.service import Service
from antiphon.runtime.settings import Settings
from antiphon.storage.dead_letters import StoredLetter
from antiphon.storage.outbox import OUTBOX_GROUP

AllowOption = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="NAME", help="Really call this; may be given again.", show_default=False),
]
ReplaceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--replace",
        metavar="TYPE=MODULE:NAME",
        help="Give the handler this value in place of what provides the type; may be given again.",
        show_default=False,
    ),
]


class _Asked(NamedTuple):
    id: str
    allow: Sequence[str]
    replace: Sequence[str]
    modules: Sequence[str] | None


def dry_run(
    id: IdArgument,
    where: Where,
    allow: AllowOption = None,
    replace: ReplaceOption = None,
    module: ModulesOption = None,
) -> None:
    """Call the present handler with a dead letter's message, edited or not, and show what it does.

    Its transaction is rolled back and what it publishes is kept back. What it would call besides, such as a client that
    the service provides, a fetcher or a middleware, is listed, and nothing runs unless each is allowed or replaced by
    name. What it reaches without asking for it, such as a global of its module, is not seen.
    """
    settings = where.settings()
    found = asyncio.run(_dry_run(settings, _Asked(id, allow or (), replace or (), module)))
    if where.as_json:
        print_json(_in_json(found))
    else:
        print_text("\n".join(_lines(found)))
    if found.error is not None:
        raise typer.Exit(ExitCode.FAILURE)


async def _dry_run(settings: Settings, asked: _Asked) -> DryRun:
    async with opened_store(settings) as (_, store):
        stored = await letter_of(store, asked.id)
        _require_handled(stored)
        services = load_services(asked.modules, settings)
        service = _service_of(services, settings, stored)
        _require_called(service, stored, asked.allow)
        how = DryRunPlan(allow=asked.allow, replace=_replacements(service, asked.replace))
        return await service.dry_run(stored.letter.topic, _message(stored), store, how)


def _require_handled(stored: StoredLetter) -> None:
    if stored.letter.group == OUTBOX_GROUP:
        raise DeadLetterError(
            f"dead letter {stored.id} was refused by the broker before any handler saw it, so there is nothing to run "
            "dry: mend it with antiphon dead-letters edit, and send it again with retry"
        )


def _message(stored: StoredLetter) -> Message:
    """As it would be tried again: edited, where it was."""
    return stored.edited or stored.letter.message


def _service_of(services: Sequence[Service], settings: Settings, stored: StoredLetter) -> Service:
    group = stored.letter.group
    for service in services:
        if (settings.of_service(service.name).group or service.name) == group:
            return service
    names = ", ".join(sorted(service.name for service in services)) or "none"
    raise DeadLetterError(
        f"no service of group {group!r} is in these modules; they have {names}: name its module with --module"
    )


def _require_called(service: Service, stored: StoredLetter, allowed: Sequence[str]) -> None:
    """Raise UsageError for a name that nothing has which would be called: it was mistyped."""
    called = service.dry_run_needs(stored.letter.topic, _message(stored)) if allowed else ()
    for name in allowed:
        if name not in called:
            known = ", ".join(sorted(called)) or "nothing"
            raise UsageError(f"--allow {name}: nothing of that name would be called; what would be is {known}")


def _replacements(service: Service, written: Sequence[str]) -> Mapping[type, object]:
    """The values to be given, by the type that the service provides."""
    types = {kind.__name__: kind for kind in service.provided_types()}
    found: dict[type, object] = {}
    for each in written:
        name, _, place = each.partition("=")
        if name not in types:
            known = ", ".join(sorted(types)) or "nothing"
            raise UsageError(f"--replace {each}: service {service.name!r} provides no {name!r}; it provides {known}")
        found[types[name]] = _loaded(each, place)
    return found


def _loaded(written: str, place: str) -> object:
    module, _, name = place.partition(":")
    if not module or not name:
        raise UsageError(f"--replace {written}: write it as TYPE=MODULE:NAME, as in Gateway=fakes:gateway")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--replace {written}: {error}") from error


def _in_json(found: DryRun) -> dict[str, object]:
    return {
        "handler": found.handler,
        "place": found.place,
        "error": found.error,
        "emits": [message_in_json(_delivery(one)) for one in found.emits],
        "schedules": [{"at": at, **message_in_json(_delivery(one))} for one, at in found.schedules],
        "statements": [{"sql": each.sql, "args": each.args, "rows": each.rows} for each in found.statements],
        "called": found.called,
        "replaced": found.replaced,
        "seconds": round(found.took.total_seconds(), 6),
    }


def _lines(found: DryRun) -> Iterator[str]:
    yield f"{found.handler} ({found.place})"
    yield f"  would fail with {found.error}" if found.error else "  would succeed"
    for statement in found.statements:
        yield f"  {_statement(statement)}"
    for one in found.emits:
        yield f"  publish to {one.topic}: {message_line(_delivery(one))}"
    for one, at in found.schedules:
        yield f"  publish to {one.topic} at {at.isoformat()}: {message_line(_delivery(one))}"
    if found.called:
        yield f"  really called: {', '.join(found.called)}"
    if found.replaced:
        yield f"  replaced: {', '.join(found.replaced)}"
    yield "nothing of it was kept"


def _statement(statement: Statement) -> str:
    args = ", ".join(repr(arg) for arg in statement.args)
    rows = "" if statement.rows is None else f" -> {statement.rows} row{'s' * (statement.rows != 1)}"
    return f"{' '.join(statement.sql.split())}  [{args}]{rows}"


def _delivery(one: Outgoing) -> Delivery:
    return Delivery(Partition(one.topic, 0), "", one.message)


app = app_of(dry_run)
