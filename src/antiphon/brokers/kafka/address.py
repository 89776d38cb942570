"""What do the URLs of Kafka mean?"""

from __future__ import annotations

import inspect
from typing import Protocol, get_type_hints

import msgspec

from antiphon.brokers.kafka.broker import KafkaBroker
from antiphon.brokers.kafka.options import Access, KafkaOptions
from antiphon.errors import SettingsError

_PORT = 9092


class ClusterAddress(Protocol):
    """What a URL says about the cluster."""

    @property
    def host(self) -> str | None: ...
    @property
    def port(self) -> int | None: ...
    @property
    def path(self) -> str: ...
    @property
    def user(self) -> str | None: ...
    @property
    def password(self) -> str | None: ...
    @property
    def url(self) -> str: ...


def from_address(address: ClusterAddress, **options: object) -> KafkaBroker:
    """`kafka://host:9092`, or `kafka://user:password@host:9092?tls=true`; the options are those of `KafkaOptions`."""
    if address.host is None:
        raise SettingsError(f"{address.url} names no server: write kafka://host:{_PORT}")
    if address.path:
        raise SettingsError(f"{address.url} has a path, {address.path!r}, but topics are named where they are used")
    host = f"[{address.host}]" if ":" in address.host else address.host
    made = msgspec.convert(options, KafkaOptions)
    access = Access(user=address.user, password=address.password)
    return KafkaBroker(f"{host}:{address.port or _PORT}", made, access, address.url)


def _spelled_out() -> None:
    """Let whoever asks the function see each option, of which there are more than a function should list."""
    hints = get_type_hints(KafkaOptions, include_extras=True)
    parameters = [inspect.Parameter("address", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=ClusterAddress)]
    parameters += [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in msgspec.structs.fields(KafkaOptions)
    ]
    signature = inspect.Signature(parameters, return_annotation=KafkaBroker)
    vars(from_address)["__signature__"] = signature
    from_address.__annotations__ = {each.name: each.annotation for each in parameters}


_spelled_out()
