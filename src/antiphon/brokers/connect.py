"""Which adapter does a URL mean, and with which options?

An adapter offers `from_address(address, *, option=...)`: its keyword-only parameters are the options that its URLs
may have, converted to their annotated types, which say by `msgspec.Meta` what cannot be used; with `**others: str` any
other is passed on as a text. It is imported only when one of its URLs is used.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from importlib import import_module
from typing import Literal, NamedTuple, get_args, get_origin, get_type_hints
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec
from msgspec import Struct

from antiphon.brokers.ports import Broker
from antiphon.errors import SettingsError
from antiphon.events.amounts import duration


class Adapter(NamedTuple):
    """Where the factory of a scheme is, as `module:function`, and which extra installs what it needs."""

    factory: str
    extra: str | None = None


ADAPTERS: Mapping[str, Adapter] = {
    "embedded": Adapter("antiphon.brokers.embedded:from_address"),
    "kafka": Adapter("antiphon.brokers.kafka:from_address", "kafka"),
    "memory": Adapter("antiphon.brokers.memory:from_address"),
    "nats": Adapter("antiphon.brokers.nats:from_address", "nats"),
    "postgresql": Adapter("antiphon.brokers.postgres:from_address", "postgres"),
    "rabbitmq": Adapter("antiphon.brokers.rabbitmq:from_address", "rabbitmq"),
    "rabbitmq-streams": Adapter("antiphon.brokers.rabbitmq:log_from_address", "rabbitmq"),
    "redis": Adapter("antiphon.brokers.redis:from_address", "redis"),
}


_ELSEWHERE: Mapping[str, str] = {"rediss": "redis", "valkeys": "redis", "amqps": "rabbitmq"}
"""What other libraries call a broker of ours behind TLS."""


class Address(Struct, frozen=True):
    """A broker's URL, taken apart. Names and secrets are decoded; `options` are converted by `connect`."""

    scheme: str
    host: str | None
    port: int | None
    path: str
    """What follows the first slash after the host; it begins with a slash only when two stood there."""
    user: str | None
    password: str | None
    url: str
    """The whole, without the password: for messages."""


def connect(url: str) -> Broker:
    """The broker that `url` means, not yet open; nothing is read or written.

    Raises SettingsError for an unknown scheme or option, an unusable value, or an extra that is not installed.
    """
    address, options = _parse(url)
    adapter = ADAPTERS.get(address.scheme)
    if adapter is None:
        raise SettingsError(f"no broker has the scheme {address.scheme!r} of {address.url}{_hint(address.scheme)}")
    factory = _load(adapter, address)
    return factory(address, **_convert(options, factory, address))


def _parse(url: str) -> tuple[Address, dict[str, str]]:
    shown = _without_secrets(url)
    if not re.match(r"[a-z][a-z0-9+.-]*://", url, re.IGNORECASE):
        example = url.lstrip("/") or "log.db"
        raise SettingsError(f"{shown!r} is no broker URL: write scheme://..., such as embedded:///{example} for a file")
    try:
        parts = urlsplit(url)
        address = _address(parts, shown)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise SettingsError(f"{shown} is no broker URL: {error}") from error
    options = dict(pairs)
    if len(options) < len(pairs):
        raise SettingsError(f"{shown} gives an option twice: give each once")
    if parts.fragment:
        raise SettingsError(f"{shown} has a '#': write %23 where it belongs to a name")
    return address, options


def _address(parts: SplitResult, shown: str) -> Address:
    return Address(
        scheme=parts.scheme.lower(),
        host=parts.hostname,
        port=parts.port,
        path=unquote(parts.path.removeprefix("/")),
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        url=shown,
    )


def _without_secrets(url: str) -> str:
    url = re.sub(r"//([^/:@?#]*):[^?#]*@", r"//\1:***@", url)
    return re.sub(r"([?&][^=&]*(?:password|secret|token)[^=&]*=)[^&]*", r"\1***", url, flags=re.IGNORECASE)


def _load(adapter: Adapter, address: Address) -> Callable[..., Broker]:
    module, _, name = adapter.factory.partition(":")
    try:
        factory: Callable[..., Broker] = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if adapter.extra is None or (error.name or "").startswith("antiphon"):
            raise
        raise SettingsError(
            f"{address.url} needs {error.name}, which is not installed: pip install 'antiphon[{adapter.extra}]'"
        ) from error
    return factory


def _convert(options: Mapping[str, str], factory: Callable[..., Broker], address: Address) -> dict[str, object]:
    """The options as the factory's parameters want them."""
    parameters = inspect.signature(factory).parameters.values()
    known = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    takes_others = any(each.kind is each.VAR_KEYWORD for each in parameters)
    types = get_type_hints(factory, include_extras=True)
    converted: dict[str, object] = {}
    for name, text in options.items():
        if takes_others and name not in known:
            converted[name] = text
            continue
        if name not in known:
            all_known = ", ".join(known) or "none"
            raise SettingsError(
                f"{address.scheme}:// has no option {name!r}{_nearest(name, known) or f'; it has {all_known}'}"
            )
        try:
            converted[name] = _value(text, types[name])
        except (msgspec.ValidationError, ValueError) as error:
            raise SettingsError(f"option {name!r} of {address.url} cannot be used: {error}") from error
    return converted


def _value(text: str, wanted: object) -> object:
    if get_origin(wanted) is Literal:
        choices = [str(choice) for choice in get_args(wanted)]
        if text not in choices:
            raise ValueError(f"it is one of {', '.join(choices)}{_nearest(text, choices)}")
    if wanted is bool and text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(f"it is true or false, not {text!r}")
    if wanted is timedelta:
        return duration(text)
    converted: object = msgspec.convert(text, wanted, strict=False)
    return converted


def _hint(scheme: str) -> str:
    if ours := _ELSEWHERE.get(scheme):
        return f"; write {ours}://...?tls=true"  # the nearest name alone would be read as to leave TLS out
    known = ", ".join(f"{each}://" for each in sorted(ADAPTERS))
    return _nearest(scheme, ADAPTERS) or f"; there are {known}"


def _nearest(word: str, known: Collection[str]) -> str:
    from difflib import get_close_matches  # only after a mistake: it would slow every start

    found = get_close_matches(word, known, n=1)
    return f"; did you mean {found[0]!r}?" if found else ""
