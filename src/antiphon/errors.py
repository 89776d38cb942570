"""Every error Antiphon raises, in one tree: the class says whose fault, `retryable` says what next.

```
AntiphonError
├─ UsageError                  your code or settings; raised before any I/O
│  ├─ DeclarationError         an event or a handler that cannot be declared like this
│  ├─ DuplicateHandlerError    two handlers for one event type in one service
│  ├─ UndeclaredEventError     an event published that the handler did not declare
│  ├─ UnsupportedCapabilityError  the broker or store cannot do what was asked
│  ├─ GuaranteeError           the guarantee derived is below the one demanded
│  ├─ SettingsError            an unknown or unusable setting
│  ├─ TransactionEndedError    a handler committed or rolled back what its service commits
│  ├─ DeadLetterError          a dead letter or redrive that is not there, or to which this cannot be done now
│  └─ ClosedError              used before it was opened or after it was closed
├─ BrokerError                 the road
│  ├─ ConnectionLostError*     the broker cannot be reached, or lets us in no more
│  ├─ AccessDeniedError        the broker does not let us in at the start, or a right is missing
│  ├─ DataLostError            the broker lost what it had confirmed
│  ├─ PublishError             some messages were refused; each is named
│  ├─ UnknownTopicError        no such topic
│  └─ PositionLostError        retention deleted what the group had not read
├─ StoreError                  the shelf
│  ├─ StoreUnavailableError*   locked, unreachable or busy for too long, or it lets us in no more
│  ├─ TransactionConflictError*  another transaction was in the way; this one was rolled back
│  ├─ CommitUnknownError*      the connection was lost at the commit; nobody can say whether it was made
│  ├─ StoreAccessError         the server does not let us in at the start, or a right is missing
│  ├─ StoreFullError*          no room on the disk or in the file
│  ├─ StoreReadOnlyError       the file or its folder cannot be written
│  ├─ StoreCorruptError        not a database, or a damaged one
│  ├─ StatementError           a statement the database refused
│  │  └─ ConstraintError       a row that breaks a rule of its table (unique, not null, check, foreign key)
│  ├─ StoreVersionError        written by a newer version of the software
│  ├─ MigrationError           a migration failed or was changed after it ran
│  └─ LeaseLostError*          another process took over; the transaction was rolled back
├─ SchemaError                 the meaning
│  ├─ UnrecognizedMessageError not one of the wire forms
│  ├─ EncodeError              an event that cannot be written
│  ├─ DecodeError              data that does not fit the declared event
│  └─ NewerVersionError*       the event is newer than the code
├─ AskError                    the reply that did not come
│  ├─ NoResponderError*        nobody reads the topic of the request
│  ├─ NoReplyError*            no reply came in time
│  └─ RequestFailedError       the responder could not handle the request
└─ HandlingError               your handler
   ├─ RejectError              raised by a handler: park at once, do not retry
   ├─ ItemsFailedError         raised by a batch handler: these items failed, the others are done
   └─ CircuitOpenError*        a call not made, since what it calls keeps failing
```
`*` marks the classes whose `retryable` is true: the same call may succeed later, unchanged.
Drivers' exceptions never leave an adapter except as `__cause__`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import ClassVar


class AntiphonError(Exception):
    """The root: catch it to catch everything that Antiphon raises."""

    retryable: ClassVar[bool] = False


class UsageError(AntiphonError):
    """Your code or settings are wrong; raised before any I/O."""


class DeclarationError(UsageError):
    """An event or handler is declared in a way that cannot work; the text says where and how to mend it."""


class DuplicateHandlerError(UsageError):
    """One service has two handlers for one event type. Merge them, or put one into a service of its own."""

    def __init__(self, service: str, event: str, first: str, second: str) -> None:
        self.service, self.event, self.first, self.second = service, event, first, second
        super().__init__(
            f"service {service!r} handles {event!r} twice, in {first} and in {second}: "
            "merge the two, or give one of them a service of its own"
        )


class UndeclaredEventError(UsageError):
    """A handler published an event that it does not declare."""

    def __init__(self, handler: str, event: str, declared: Sequence[str]) -> None:
        self.handler, self.event, self.declared = handler, event, tuple(declared)
        allowed = ", ".join(declared) or "nothing"
        super().__init__(
            f"{handler} published {event!r} but declares {allowed}: "
            "add it to the handler's return annotation or to publishes="
        )


class UnsupportedCapabilityError(UsageError):
    """The broker or store cannot do what was asked, and it cannot be emulated."""

    def __init__(self, subject: str, capability: str, reason: str) -> None:
        self.subject, self.capability, self.reason = subject, capability, reason
        super().__init__(f"{subject} has no {capability}: {reason}")


class GuaranteeError(UsageError):
    """What broker, store and handler give together is weaker than what the handler demands."""

    def __init__(self, handler: str, demanded: str, derived: str, reason: str) -> None:
        self.handler, self.demanded, self.derived, self.reason = handler, demanded, derived, reason
        super().__init__(f"{handler} demands {demanded} but would get {derived}: {reason}")


class SettingsError(UsageError):
    """A setting is unknown or its value cannot be used."""


class TransactionEndedError(UsageError):
    """A handler committed, rolled back or closed the session or connection that its service gave it."""


class DeadLetterError(UsageError):
    """No dead letter or redrive is meant by this, or it cannot be done to it now; nothing was changed."""


class ClosedError(UsageError):
    """Something was used before it was opened or after it was closed."""

    def __init__(self, subject: str, tried: str) -> None:
        self.subject, self.tried = subject, tried
        super().__init__(f"cannot {tried}: {subject} is not open, not yet or not any more")


class BrokerError(AntiphonError):
    """The broker failed or refused."""


class ConnectionLostError(BrokerError):
    """The broker cannot be reached, or lets us in no more; once it was open, reconnecting goes on by itself."""

    retryable = True


class AccessDeniedError(BrokerError):
    """The broker does not let us in when it is opened, or not do this; the text says which right or secret to mend."""


class DataLostError(BrokerError):
    """The broker lost what it had confirmed: it was emptied, set back or replaced. Nothing is begun anew in silence."""


class Refusal:
    """One refused message of a publish: which, to where, why, and whether trying again can help."""

    __slots__ = ("message_id", "reason", "retryable", "topic")

    def __init__(self, topic: str, message_id: str, reason: str, *, retryable: bool = False) -> None:
        self.topic, self.message_id, self.reason, self.retryable = topic, message_id, reason, retryable

    def __repr__(self) -> str:
        return f"Refusal({self.topic}, {self.message_id}: {self.reason})"


class PublishError(BrokerError):
    """Some messages of a publish were refused. `refusals` names every one; the others are held."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        self.refusals = tuple(refusals)
        first = self.refusals[0]
        more = f" (and {len(self.refusals) - 1} more)" if len(self.refusals) > 1 else ""
        super().__init__(f"publish of {first.message_id} to {first.topic!r} was refused: {first.reason}{more}")


class UnknownTopicError(BrokerError):
    """No such topic on this broker."""

    def __init__(self, topic: str, known: Sequence[str] = ()) -> None:
        self.topic = topic
        hint = f"; it has {', '.join(sorted(known)[:8])}" if known else ""
        super().__init__(f"topic {topic!r} does not exist on this broker{hint}")


class PositionLostError(BrokerError):
    """Retention deleted messages that the group had not read. Seek the group, or declare where it starts again."""

    def __init__(self, group: str, topic: str, partition: int, position: str, first: str) -> None:
        self.group, self.topic, self.partition = group, topic, partition
        self.position, self.first = position, first
        super().__init__(
            f"group {group!r} stood at {position} of {topic}/{partition}, but retention deleted everything "
            f"before {first}: seek the group (antiphon groups seek {group}), or subscribe with a declared "
            "start for lost positions"
        )


class StoreError(AntiphonError):
    """The database failed or refused."""


class StoreUnavailableError(StoreError):
    """The database is locked, unreachable or busy for too long, or does not let us in any more."""

    retryable = True


class TransactionConflictError(StoreError):
    """Another transaction was in the way: a deadlock, or a serialization failure. Everything was rolled back."""

    retryable = True


class CommitUnknownError(StoreError):
    """The connection was lost while a transaction committed: either all of it was written or nothing.

    Doing it again is safe for whoever marks in the inbox: the mark was committed with the rest, or was not.
    """

    retryable = True


class StoreAccessError(StoreError):
    """The server does not let us in when it is opened, or not do this; the text says what of login, TLS or rights."""


class StoreFullError(StoreError):
    """There is no room on the disk or in the file. Nothing was written; it goes on once there is room."""

    retryable = True


class StoreReadOnlyError(StoreError):
    """The file or its folder cannot be written."""


class StoreCorruptError(StoreError):
    """The file is not a database, is truncated, or is damaged."""


class StatementError(StoreError):
    """The database refused a statement: its text or its arguments are wrong.

    On SQLite the transaction goes on without it. On PostgreSQL everything since the last savepoint is undone.
    """


class ConstraintError(StatementError):
    """A row breaks a rule of its table. On SQLite catch it, and the transaction goes on; on PostgreSQL it cannot."""


class StoreVersionError(StoreError):
    """The file was written by a newer version of the software."""

    def __init__(self, path: str, component: str, found: int, known: int) -> None:
        self.path, self.component, self.found, self.known = path, component, found, known
        super().__init__(
            f"{path}: the tables of {component!r} are at version {found}, this software knows {known}: "
            "it was written by a newer version; upgrade this process, or use another file"
        )


class MigrationError(StoreError):
    """A migration failed, or differs from the one that was applied under its number."""


class LeaseLostError(StoreError):
    """Another process holds the lease now. The transaction was rolled back; the new owner repeats the work."""

    retryable = True


class SchemaError(AntiphonError):
    """The meaning of a message is missing or wrong."""


class UnrecognizedMessageError(SchemaError):
    """The bytes are none of the wire forms: CloudEvents binary, CloudEvents structured, plain envelope."""


class EncodeError(SchemaError):
    """An event cannot be written as its declared content type."""


class DecodeError(SchemaError):
    """A message's data does not fit the event that the code declares."""

    def __init__(self, message_id: str, event: str, found: int, declared: int, reason: str) -> None:
        self.message_id, self.event, self.found, self.declared = message_id, event, found, declared
        self.reason = reason
        super().__init__(
            f"message {message_id}: {event!r} version {found} cannot be read as the declared version {declared}: "
            f"{reason}"
        )


class NewerVersionError(SchemaError):
    """The event is newer than the code; a rolling deploy mends it, so its partition waits by default."""

    retryable = True

    def __init__(self, message_id: str, event: str, found: int, declared: int) -> None:
        self.message_id, self.event, self.found, self.declared = message_id, event, found, declared
        super().__init__(
            f"message {message_id}: {event!r} version {found} is newer than version {declared}, which this code "
            "declares: deploy code that knows it, or declare newer='park' or newer='accept' on the handler"
        )


class AskError(AntiphonError):
    """Somebody was asked, and no reply came that could be used."""


class NoResponderError(AskError):
    """Nobody reads the topic of a request. It waits there until its deadline, for whoever starts before that."""

    retryable = True

    def __init__(self, request: str, request_id: str, topic: str, within: timedelta) -> None:
        self.request, self.request_id, self.topic, self.within = request, request_id, topic, within
        super().__init__(
            f"{request!r} {request_id} got no reply within {within.total_seconds():g} s, and nobody reads its topic "
            f"{topic!r} now: start the service that answers it, or see whether that reads another topic or broker "
            "(antiphon describe)"
        )


class NoReplyError(AskError):
    """No reply came in time; the request may be handled yet, or have been. A late reply is dropped and counted.

    `readers` are the groups that read the topic; None where the broker could not tell, so that nobody may read it.
    """

    retryable = True

    def __init__(
        self, request: str, request_id: str, topic: str, within: timedelta, readers: Sequence[str] | None, state: str
    ) -> None:
        self.request, self.request_id, self.topic, self.within = request, request_id, topic, within
        self.readers = None if readers is None else tuple(readers)
        found = f"group {', '.join(map(repr, readers))} reads it" if readers else "the broker cannot tell who reads it"
        super().__init__(
            f"{request!r} {request_id} on topic {topic!r} {state} within {within.total_seconds():g} s; {found}: look "
            "at the responder's lag and log, or give it more time (within=); ask again only for what may be done twice"
        )


class RequestFailedError(AskError):
    """The responder gave the request up: `error` is the class of what its handler raised, `text` what that said."""

    def __init__(self, request: str, request_id: str, responder: str, error: str, text: str) -> None:
        self.request, self.request_id, self.responder = request, request_id, responder
        self.error, self.text = error, text
        super().__init__(
            f"{request!r} {request_id} failed in {responder!r} with {error}: {text}: mend the request, or the handler; "
            f"the log of {responder!r} has the traceback"
        )


class HandlingError(AntiphonError):
    """A handler failed."""


class RejectError(HandlingError):
    """Raise it in a handler to park the message at once: trying again cannot help."""


class ItemsFailedError(HandlingError):
    """Raise it in a batch handler to name the items that failed, by their place in the list, each with its error.

    Only those are tried again or parked, each alone; the others are done, and `emits` is what they emit. In a
    transaction what the handler wrote before it raised this is kept, so write nothing for the items that failed.
    """

    def __init__(self, items: Mapping[int, Exception], emits: Sequence[object] = ()) -> None:
        self.items, self.emits = dict(items), tuple(emits)
        named = ", ".join(f"{index}: {error!r}" for index, error in list(self.items.items())[:5])
        more = f" (and {len(self.items) - 5} more)" if len(self.items) > 5 else ""
        super().__init__(f"{len(self.items)} items of the batch failed: {named}{more}")

    def fits(self, count: int) -> bool:
        """Whether it names items of a batch of `count`, at least one."""
        return bool(self.items) and all(0 <= index < count for index in self.items)


class CircuitOpenError(HandlingError):
    """A call was not made: too many of those before it failed. `wait` says how long until one may be tried."""

    retryable = True

    def __init__(self, name: str, wait: timedelta) -> None:
        self.name, self.wait = name, wait
        super().__init__(
            f"{name} is open, as too many calls failed or were slow: nothing was called; "
            f"it may be tried again in {wait.total_seconds():.3g} s"
        )
