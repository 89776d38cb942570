"""`antiphon dead-letters show` and `diff`: all that is known of one, and what was edited in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from antiphon.cli.dead_letters.options import IdArgument, Where
from antiphon.cli.messages import data_in_json, place_of, stored_in_json, time_of
from antiphon.cli.option_sets import app_of
from antiphon.cli.output import console, print_json, print_text
from antiphon.cli.session import opened_store, run_async
from antiphon.deadletters.choosing import letter_of
from antiphon.deadletters.differences import differences, pretty
from antiphon.deadletters.native import native_of
from antiphon.events.message import Message
from antiphon.runtime.settings import Settings
from antiphon.storage.dead_letters import Behind, StoredLetter, behind
from antiphon.storage.letter_changes import ChangeKind, LetterChange, changes_of
from antiphon.storage.outbox import OUTBOX_GROUP
from antiphon.storage.set_aside import AsideState


class Story(NamedTuple):
    """All that is known of one dead letter."""

    stored: StoredLetter
    behind: Behind
    changes: Sequence[LetterChange]


def show(id: IdArgument, where: Where) -> None:
    """Show all that is known of one dead letter: message, attempts, edits, what waits behind it."""
    story = run_async(_story(where.settings(), id))
    if where.as_json:
        print_json(_in_json(story))
    else:
        print_text("\n".join(_lines(story)))


def diff(id: IdArgument, where: Where) -> None:
    """Show how the edited data of a dead letter differs from the data as it came."""
    stored = run_async(_story(where.settings(), id)).stored
    before, after = stored.letter.message, stored.edited
    if where.as_json:
        told = () if after is None else differences(before, after)
        print_json({"id": stored.id, "edited": after is not None, "diff": told})
    elif after is None:
        print("it was never edited, or its edits were taken back")
    else:
        print_diff(before, after)


_COLORS = {"+": "green", "-": "red", "@": "cyan"}


def print_diff(before: Message, after: Message) -> None:
    """What is different in two messages, in color on a terminal."""
    from rich.text import Text

    for line in differences(before, after, ("as it came", "edited")):
        console().print(Text(line, style=_COLORS.get(line[:1], "")))


async def _story(settings: Settings, id: str) -> Story:
    async with opened_store(settings) as (broker, store):
        native = await native_of(broker, id)
        if native is not None:
            return Story(StoredLetter(number=0, letter=native), Behind(0, None), ())
        stored = await letter_of(store, id)
        return Story(stored, await behind(store, stored.letter), await changes_of(store, stored.id))


def _in_json(story: Story) -> dict[str, object]:
    waiting = {"messages": story.behind.messages, "oldest": story.behind.oldest}
    return {**stored_in_json(story.stored), "behind": waiting, "changes": [_change(each) for each in story.changes]}


def _change(change: LetterChange) -> dict[str, object]:
    after = {} if change.after is None else {"after": data_in_json(change.after)}
    return {"time": change.time, "by": change.by, "kind": change.kind, "before": data_in_json(change.before), **after}


def _lines(story: Story) -> Iterator[str]:
    letter, message = story.stored.letter, story.stored.letter.message
    yield f"dead letter {letter.id}"
    yield from _verdict(story.stored)
    yield f"  message  {message.type} {message.id}, version {message.schema_version}"
    yield f"  {'to' if letter.group == OUTBOX_GROUP else 'from':<8} {place_of(letter)}"
    for name, value in _attributes(message):
        yield f"  {name:<8} {value}"
    yield from _standing(story)
    yield from _data(story)
    for number, attempt in enumerate(letter.attempts, start=1):
        yield f"\nattempt {number} of {len(letter.attempts)}, {time_of(attempt.time)}"
        yield f"{attempt.error}: {attempt.text}" if not attempt.traceback else attempt.traceback.rstrip()


def _verdict(stored: StoredLetter) -> Iterator[str]:
    """Who gave it up and why; of one that nobody gave up, or not yet again, what it waits for."""
    letter = stored.letter
    version = f", code version {letter.code_version}" if letter.code_version else ""
    who, since = f"{letter.group}/{letter.handler}{version}", time_of(letter.parked_at)
    if stored.state is AsideState.PARKED:
        yield f"  parked   {since} by {who}"
    else:
        yield f"  waits    {_FOR[stored.state]}, set aside {since} by {who}"
    if letter.reason:
        yield f"  because  {letter.reason}, fingerprint {letter.fingerprint}"


_FOR = {AsideState.DELAYED: "for its next attempt", AsideState.BEHIND: "behind another one of its key"}


def _attributes(message: Message) -> Iterator[tuple[str, object]]:
    yield "time", message.time.isoformat()
    named = {
        "key": message.key,
        "source": message.source or None,
        "story": message.correlation_id,
        "cause": message.causation_id,
        "trace": message.traceparent,
        "tenant": message.tenant,
        "deadline": message.deadline and message.deadline.isoformat(),
    }
    yield from ((name, value) for name, value in named.items() if value is not None)
    yield from message.extensions.items()


def _standing(story: Story) -> Iterator[str]:
    stored, waiting = story.stored, story.behind
    if waiting.messages and waiting.oldest is not None:
        yield f"  behind   {waiting.messages} of its key wait, the oldest since {time_of(waiting.oldest)}"
    if stored.redrive is not None:
        yield f"  redrive  {stored.redrive}: {stored.redrive_state.name.lower()}"
    for change in story.changes:
        yield f"  {_DONE[change.kind]:<8} {time_of(change.time)} by {change.by}"


_DONE = {ChangeKind.EDIT: "edited", ChangeKind.REVERT: "reverted", ChangeKind.DROP: "dropped"}


def _data(story: Story) -> Iterator[str]:
    stored = story.stored
    yield f"\ndata{' as it came' if stored.edited else ''}"
    yield pretty(stored.letter.message)
    if stored.edited is not None:
        yield "\ndata as it was edited"
        yield pretty(stored.edited)


show_app, diff_app = app_of(show), app_of(diff)
