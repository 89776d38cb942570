"""`antiphon dead-letters edit`: mend the data of a dead letter, checked against the handler that will read it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.dead_letters.options import ByOption, IdArgument, UncheckedOption, Where
from antiphon.cli.dead_letters.showing import print_diff
from antiphon.cli.dead_letters.work import author
from antiphon.cli.fields import read_field
from antiphon.cli.messages import stored_in_json
from antiphon.cli.option_sets import OptionSet, app_of
from antiphon.cli.options import ModulesOption
from antiphon.cli.output import is_interactive, print_json
from antiphon.cli.session import opened_store, run_async
from antiphon.deadletters.choosing import letter_of
from antiphon.deadletters.differences import pretty
from antiphon.deadletters.editing import edit as put_edit
from antiphon.deadletters.editing import edited_message, revert
from antiphon.deadletters.field_changes import FieldChange, with_changes
from antiphon.deadletters.native import adopt
from antiphon.deadletters.readers import Reader
from antiphon.errors import DeadLetterError, UsageError
from antiphon.events.message import Message
from antiphon.runtime.settings import Settings
from antiphon.schemas.codec import codec_for
from antiphon.storage.dead_letters import DeadLetter, StoredLetter, behind
from antiphon.storage.letter_changes import Author
from antiphon.storage.letter_query import LetterQuery
from antiphon.storage.outbox import OUTBOX_GROUP


@dataclass(frozen=True, kw_only=True)
class Mending(OptionSet):
    """What the data becomes; with nothing said, an editor asks."""

    set: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="total=7, address.city=Berlin, lines.0.sku=tea, items:='[1]'."
        ),
    ] = None
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="JSON|@FILE|-", help="All of the data: here, in a file, or from input."),
    ] = None
    revert: Annotated[bool, typer.Option("--revert", help="Take all edits back.")] = False


def edit(
    id: IdArgument,
    mending: Mending,
    where: Where,
    by: ByOption = None,
    modules: ModulesOption = None,
    unchecked: UncheckedOption = False,
) -> None:
    """Mend the data of a dead letter, for its handler to be given when it is retried.

    It must fit what the handler reads; what the broker refused has no handler, and must fit its event. The message as
    it came, its id and its key stay, and who edited what is kept.
    """
    settings = where.settings()
    _check(mending)
    who = author(by)
    if mending.revert:
        _tell(run_async(_revert(settings, id, who)), "is as it came again", as_json=where.as_json)
        return
    stored, waiting = run_async(_read(settings, id))
    letter = stored.letter
    reader = None if unchecked else _reader(letter, modules, settings)
    edited = edited_message(stored, _data(stored, mending, reader), reader, waiting)
    if edited == stored.current:
        _tell(stored, "was left as it is: nothing is different", as_json=where.as_json)
        return
    after = run_async(_edit(settings, stored, edited, who))
    if not where.as_json:
        print_diff(letter.message, edited)
    _tell(after, f"is edited; send it again with antiphon dead-letters retry {letter.id}", as_json=where.as_json)


def _reader(letter: DeadLetter, modules: list[str] | None, settings: Settings) -> Reader:
    from antiphon.cli.dead_letters.reading import reader_of_refused, readers_of

    if not modules and not settings.modules:
        what = "its event is" if letter.group == OUTBOX_GROUP else "the handlers that read it are"
        raise UsageError(
            f"{what} not known, as no module was given and antiphon.toml names none: name it with --module, or say "
            "--unchecked"
        )
    if letter.group == OUTBOX_GROUP:
        return reader_of_refused(letter, modules, settings)
    return readers_of(modules, settings).find(letter.group, letter.topic, letter.message.type)


def _check(mending: Mending) -> None:
    if sum([bool(mending.set), mending.data is not None, mending.revert]) > 1:
        raise UsageError("say one of --set, --data and --revert")


def _tell(stored: StoredLetter, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(stored_in_json(stored))
    else:
        print(f"dead letter {stored.id} {what}")


async def _read(settings: Settings, id: str) -> tuple[StoredLetter, int]:
    """The dead letter, and how many wait behind it."""
    async with opened_store(settings) as (broker, store):
        await adopt(broker, store, LetterQuery(ids=(id,)))
        stored = await letter_of(store, id)
        return stored, (await behind(store, stored.letter)).messages


async def _edit(settings: Settings, stored: StoredLetter, edited: Message, who: Author) -> StoredLetter:
    async with opened_store(settings) as (_, store):
        await put_edit(store, stored, edited, who)
        return await letter_of(store, stored.id)


async def _revert(settings: Settings, id: str, who: Author) -> StoredLetter:
    async with opened_store(settings) as (_, store):
        await revert(store, await letter_of(store, id), who)
        return await letter_of(store, id)


def _data(stored: StoredLetter, mending: Mending, reader: Reader | None) -> bytes:
    if mending.data is not None:
        return _given(mending.data)
    current = stored.current.data
    if current is None:
        raise DeadLetterError(f"dead letter {stored.id} is a tombstone: it has no data; give all of it with --data")
    if mending.set:
        changes = [FieldChange(*read_field(one)) for one in mending.set]
        return with_changes(current, changes, None if reader is None else codec_for(reader.event))
    return _asked(stored)


def _given(data: str) -> bytes:
    if data == "-":
        return sys.stdin.buffer.read()
    if not data.startswith("@"):
        return data.encode()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise UsageError(f"--data {data}: cannot read that file: {error.strerror}") from error


def _asked(stored: StoredLetter) -> bytes:
    """What a person makes of it in an editor; the file stays until it was read, so that a slip loses no work."""
    if not is_interactive():
        raise UsageError("say what to change with --set FIELD=VALUE or --data JSON; an editor needs a terminal")
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{stored.letter.message.type}.json"
        before = pretty(stored.current)
        file.write_text(f"{before}\n", "utf-8")
        try:
            done = subprocess.run([*shlex.split(editor), str(file)], check=False)
        except OSError as error:
            raise UsageError(f"the editor {editor!r} cannot be started ({error.strerror}): set EDITOR") from error
        if done.returncode != 0:
            raise UsageError(f"the editor {editor!r} ended with {done.returncode}, so nothing was changed")
        after = file.read_text("utf-8").rstrip()
    return (stored.current.data or b"") if after == before else after.encode()


app = app_of(edit)
