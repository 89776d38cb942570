"""What a service has declared, before anything runs: handlers and all that they need."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from antiphon.errors import DeclarationError, DuplicateHandlerError
from antiphon.events.declare import Declaration, EventKind, declaration_of
from antiphon.events.fields import field_names, form_of
from antiphon.events.message import Message
from antiphon.events.runner import Runner
from antiphon.resilience import AT_ONCE, Breaker, RateLimit
from antiphon.runtime.asking import Asker
from antiphon.runtime.dependencies import Provider, check_providers
from antiphon.runtime.publisher import Publisher
from antiphon.runtime.replica import Replica
from antiphon.runtime.route import Handler, HandlerOptions, Mode
from antiphon.runtime.signature import Needs, Shape, Signature, is_provided_by_runtime, read_signature, where
from antiphon.runtime.wrapping import Middleware
from antiphon.storage.database import Transaction
from antiphon.storage.recognizing import is_for_plain_functions, is_given_to_handlers
from antiphon.storage.sessions import Sessions

T = TypeVar("T")
_PLAIN = (Shape.PLAIN, Shape.GENERATOR)

EventName = tuple[str, str]
"""Topic and name of an event on the wire."""


class Fetching:
    """How the details of a notification are fetched: the function, and the type that it gives."""

    __slots__ = ("function", "gives")

    def __init__(self, function: Callable[[object], Awaitable[object]], gives: type) -> None:
        self.function, self.gives = function, gives


class Declared:
    """The declarations of one service; each is checked when it is made, all of them together by `check`."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.handlers: list[Handler] = []
        self.by_event: dict[EventName, tuple[Handler, type]] = {}
        self.providers: dict[type, Provider] = {}
        self.fetchers: dict[EventName, Fetching] = {}
        self.replicas: list[Declaration] = []
        self.middleware: list[Middleware] = []
        self.runners: list[Runner] = []
        self.sessions: Sequence[Sessions] = ()
        """Where handlers' sessions come from, but for connections of the store itself."""

    def add(
        self,
        function: Callable[..., object],
        events: Sequence[type],
        options: HandlerOptions,
        local_names: Mapping[str, object],
    ) -> None:
        """Take a handler. Raises DeclarationError or DuplicateHandlerError, and then nothing is taken."""
        signature = read_signature(
            function, events, local_names, batch=options.batch_size is not None, answers=options.answers
        )
        handler = Handler(function.__name__, function, signature, options, self._surrounds(signature, options))
        self._check_handler(handler)
        self._take(handler, events)

    def _surrounds(self, signature: Signature, options: HandlerOptions) -> bool:
        """Whether the service's sessions are around every plain function."""
        if signature.shape not in _PLAIN or signature.needs.session is not None or options.settles_first:
            return False
        return any(each.kind is None for each in self.sessions)

    def _take(self, handler: Handler, events: Sequence[type]) -> None:
        for event in events:
            declared = declaration_of(event)
            taken = self.by_event.get((declared.topic, declared.name))
            if taken is not None:
                raise DuplicateHandlerError(
                    self.service, declared.name, where(taken[0].function), where(handler.function)
                )
        for event in events:
            declared = declaration_of(event)
            self.by_event[declared.topic, declared.name] = (handler, event)
        self.handlers.append(handler)

    def _check_handler(self, handler: Handler) -> None:
        place = where(handler.function)
        same = next((one for one in self.handlers if one.name == handler.name), None)
        if same is not None:
            raise DeclarationError(
                f"{place}: service {self.service!r} has a handler of this name already, {where(same.function)}: "
                "names go into the ids of what handlers emit, so give it another"
            )
        plain = handler.signature.shape in _PLAIN
        needs = handler.signature.needs
        _check_asking_and_answering(handler, place, plain=plain)
        if plain and needs.of(Transaction):
            raise DeclarationError(
                f"{place}: it is a plain function, which runs in a thread, and a Transaction belongs to the event "
                "loop's thread: write `async def`"
            )
        if plain and needs.of(Publisher):
            raise DeclarationError(f"{place}: it is a plain function and cannot await a Publisher: return the events")
        if needs.of(Publisher) and not handler.options.publishes:
            raise DeclarationError(
                f"{place}: it asks for a Publisher, so declare publishes=(...), the events it may send"
            )
        if handler.options.settles_first and (needs.of(Transaction) or needs.session):
            raise DeclarationError(
                f"{place}: settle='first' gives up what a Transaction is for, that no effect is lost: leave out one"
            )
        if handler.mode is Mode.SESSION:
            check_session(handler, plain=plain)
        if handler.options.settles_first and handler.options.policy not in (None, AT_ONCE):
            raise DeclarationError(
                f"{place}: settle='first' runs it at most once, so nothing is tried again: leave out policy="
            )
        if handler.options.once_by is not None:
            _check_once_by(handler, handler.options.once_by, place)
        if handler.options.batch_size is not None and handler.mode is Mode.OWN:
            raise DeclarationError(f"{place}: a batch handler shares its transaction: leave out transaction='own'")
        for event in handler.options.publishes:
            declaration_of(event)

    def fetch(self, event: type, function: Callable[..., Awaitable[object]], gives: type) -> None:
        """Take a fetcher. Raises DeclarationError for an event that is no notification, or a second fetcher."""
        declared = declaration_of(event)
        if declared.kind is not EventKind.NOTIFICATION:
            raise DeclarationError(
                f"{where(function)}: {declared.name!r} is no notification, it carries its details; declare it with "
                "kind=EventKind.NOTIFICATION, or read the details from the event"
            )
        name = (declared.topic, declared.name)
        if name in self.fetchers:
            raise DeclarationError(f"{where(function)}: {declared.name!r} has a fetcher already; keep one")
        self.fetchers[name] = Fetching(function, gives)

    def keep(self, replica: Replica[T]) -> None:
        """Take a replica: a handler of the runtime's own that keeps it."""
        event = replica.event
        declared = declaration_of(event)

        async def keep(_: object, message: Message, tx: Transaction) -> None:
            await replica.keep(message, tx)

        needs = Needs((("message", Message), ("tx", Transaction)))
        signature = Signature((event,), needs, (), Shape.ASYNC)
        options = HandlerOptions(newer="accept", takes_tombstones=True)
        self._take(Handler(f"replica of {declared.name}", keep, signature, options), (event,))
        self.replicas.append(declared)

    def check(self, policies: Iterable[type] = ()) -> None:
        """What can only be seen with everything declared; `policies`: events given one. Raises DeclarationError."""
        for handler in self.handlers:
            self._check_provided(handler)
        wanted = {where(one.function): self._dependencies(one) for one in self.handlers}
        check_providers(self.providers, wanted)
        self.gates(None, None)
        for event in policies:
            self._check_policy(event)

    def _check_provided(self, handler: Handler) -> None:
        """Raise when a handler's session could be taken for something that the service provides."""
        kind = handler.signature.needs.session
        if kind in self.providers:
            raise DeclarationError(
                f"{where(handler.function)} asks for {kind.__name__}, which is the session or connection of its own "
                f"transaction, and the service provides one, too: wrap what it provides in a class of yours"
            )

    def _check_policy(self, event: type) -> None:
        """Raise unless a handler reads events by this class: elsewhere its policy would be believed and never used."""
        if any(event is read for _, read in self.by_event.values()):
            return
        declared, named = declaration_of(event), f"service {self.service!r}: policies={{{event.__name__}: ...}}"
        if taken := self.by_event.get((declared.topic, declared.name)):
            handler, read = taken
            raise DeclarationError(
                f"{named}: {where(handler.function)} reads {declared.name!r} by another class, "
                f"{read.__module__}.{read.__qualname__}: name that one"
            )
        names = ", ".join(dict.fromkeys(read.__name__ for _, read in self.by_event.values())) or "nothing"
        raise DeclarationError(
            f"{named}: no handler of it reads that event, it reads {names}: declare one, or leave it out"
        )

    def _dependencies(self, handler: Handler) -> list[type]:
        """What it asks the service for: for each of its events whatever is not fetched as that one's details."""
        asked = [kind for _, kind in handler.signature.needs.parameters if not is_provided_by_runtime(kind)]
        fetched = [self.fetching(event) for event in handler.signature.events]
        if handler.options.batch_size is not None and any(one and one.gives in asked for one in fetched):
            raise DeclarationError(
                f"{where(handler.function)}: details are fetched for one event at a time, not for a batch: use on()"
            )
        return [kind for one in fetched for kind in asked if one is None or one.gives is not kind]

    def fetching(self, event: type) -> Fetching | None:
        """How the details of this event are fetched, if that is declared."""
        declared = declaration_of(event)
        return self.fetchers.get((declared.topic, declared.name))

    def gates(
        self, breaker: Breaker | None, limit: RateLimit | None
    ) -> tuple[dict[str, Breaker], dict[str, RateLimit]]:
        """The breaker and the rate limit of each topic: those of its handlers, else the service's own."""
        breakers = self._by_topic("breaker", lambda handler: handler.options.breaker, breaker)
        return breakers, self._by_topic("limit", lambda handler: handler.options.limit, limit)

    def _by_topic(self, name: str, of: Callable[[Handler], T | None], default: T | None) -> dict[str, T]:
        found: dict[str, tuple[T, Handler]] = {}
        for (topic, _), (handler, _) in self.by_event.items():
            given = of(handler)
            if given is None:
                continue
            known, first = found.setdefault(topic, (given, handler))
            if known != given:
                raise DeclarationError(
                    f"{where(handler.function)}: {name}= differs from that of {first.name}, which reads {topic!r}; "
                    "it acts on fetching the topic, so give both the same"
                )
        chosen = {topic: given for topic, (given, _) in found.items()}
        return chosen if default is None else {**dict.fromkeys(self.topics_read(), default), **chosen}

    def handlers_of(self, topic: str) -> tuple[str, ...]:
        """The names of the handlers that read `topic`, in the order of their declaration."""
        return tuple(dict.fromkeys(handler.name for (read, _), (handler, _) in self.by_event.items() if read == topic))

    def reads(self) -> list[Declaration]:
        return [declaration_of(event) for _, event in self.by_event.values()]

    def emits(self) -> list[Declaration]:
        return [declaration_of(event) for handler in self.handlers for event in handler.emits]

    def topics_read(self) -> list[str]:
        return sorted({declared.topic for declared in self.reads()})

    def topics(self) -> list[str]:
        return sorted({declared.topic for declared in (*self.reads(), *self.emits())})


def _check_asking_and_answering(handler: Handler, place: str, *, plain: bool) -> None:
    """Raise for who answers once only, and for who asks and would hold up others, maybe those it asks, meanwhile."""
    if handler.options.answers and handler.options.once_by is not None:
        raise DeclarationError(
            f"{place}: once_by= knows a repeated request and handles it no more, so whoever asks again gets no "
            "reply: leave it out, and reply with what was done the first time"
        )
    if not handler.signature.needs.of(Asker):
        return
    if plain:
        raise DeclarationError(f"{place}: it is a plain function and cannot await an Asker: write `async def`")
    if handler.mode is Mode.SHARED:
        raise DeclarationError(
            f"{place}: it asks, and shares a transaction that others need meanwhile, maybe whoever it asks: declare "
            "transaction='own', and ask before the first statement"
        )
    if handler.mode is Mode.SESSION:
        raise DeclarationError(
            f"{place}: it asks inside the transaction of its session, which is open from its beginning: ask in a "
            "handler before it, which emits what it learned"
        )


def _check_once_by(handler: Handler, field: str, place: str) -> None:
    """Raise DeclarationError where it would recognize nothing."""
    if handler.mode not in (Mode.SHARED, Mode.OWN, Mode.SESSION) and not handler.options.settles_first:
        raise DeclarationError(
            f"{place}: once_by={field!r} is kept in the handler's Transaction: ask for one, or say settle='first'"
        )
    for event in handler.signature.events:
        form = form_of(event)
        known = () if form is None else field_names(event, form)
        if field not in known:
            raise DeclarationError(
                f"{place}: once_by={field!r} is no field of {event.__name__}, which has {', '.join(sorted(known))}"
            )


def check_session(handler: Handler, *, plain: bool) -> None:
    """Raise DeclarationError for a handler that cannot run in a session as it is written."""
    place, needs = where(handler.function), handler.signature.needs
    if handler.options.batch_size is not None:
        raise DeclarationError(
            f"{place}: a batch handler has no session of its own: use on(), or ask for a Transaction"
        )
    asked = [kind for _, kind in needs.parameters if kind is Transaction or is_given_to_handlers(kind)]
    if len(asked) > 1:
        names = " and ".join(kind.__name__ for kind in asked)
        raise DeclarationError(f"{place}: it asks for {names}, and its writes can only commit with one: choose")
    if needs.session is None:
        return
    wanted = is_for_plain_functions(needs.session)
    if wanted is not None and wanted is not plain:
        name, form = needs.session.__name__, "def" if wanted else "async def"
        other = "is awaited" if plain else "would stop the event loop"
        raise DeclarationError(f"{place}: a {name} {other} here: write `{form}`, or ask for its counterpart")
