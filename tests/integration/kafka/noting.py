"""A service that writes down what it reads and says so, for a process of its own: `antiphon run` has it."""

from __future__ import annotations

from antiphon import Key, Service, Struct, Transaction, event


@event(topic="counted")
class Counted(Struct, frozen=True):
    """The next number of a key."""

    counter: Key[str]
    number: int


@event(topic="noted")
class Noted(Struct, frozen=True):
    """A number was written down."""

    counter: Key[str]
    number: int


notes = Service("notes")


@notes.on(Counted)
async def note(counted: Counted, tx: Transaction) -> Noted:
    await tx.execute("insert into notes (counter, number) values (?, ?)", counted.counter, counted.number)
    return Noted(counted.counter, counted.number)
