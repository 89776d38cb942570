"""Which broker, which modules, which limits: from arguments, environment and `antiphon.toml`, in that order."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import cast

import msgspec
from msgspec import Struct

from antiphon.brokers.ports import TopicSpec
from antiphon.errors import SettingsError
from antiphon.runtime.setting_values import (
    SERVICE,
    TOP,
    TOPIC,
    Readers,
    read_environment,
    read_table,
)
from antiphon.storage.inbox import KEEP_MARKS

FILE_NAME = "antiphon.toml"
DEFAULT_PATH = ".antiphon/log.db"
_EMBEDDED = "embedded:///"
_FILES = MappingProxyType({"broker": _EMBEDDED, "store": "sqlite:///"})
"""The settings that may name a file, and how such a value begins."""
_TABLES: Mapping[str, Readers] = MappingProxyType({"topics": TOPIC, "services": SERVICE})


class TopicSettings(Struct, frozen=True, kw_only=True):
    """`[topics.NAME]`: how a topic is made. Retention is unlimited where it is None."""

    partitions: int = 8
    keep_for: timedelta | None = None
    keep_bytes: int | None = None


class ServiceSettings(Struct, frozen=True, kw_only=True):
    """What holds for one service: `[services.NAME]` over the top of the file."""

    broker: str
    store: str | None = None
    """The database of its tables; the broker's own when None."""
    group: str | None = None
    """The consumer group; the service's name when None."""
    workers: int = 1
    inflight_messages: int = 10_000
    """Deliveries held in memory at most; fetching waits beyond that."""
    inflight_bytes: int = 64_000_000
    fetch_messages: int = 1_000
    concurrency: int = 32
    """How many handlers without a shared transaction run side by side, each key in one of so many lanes."""
    transaction_messages: int = 500
    """The most messages that share a transaction."""
    transaction_time: timedelta = timedelta(milliseconds=20)
    """How long a transaction may take before it commits what it has."""
    drain_timeout: timedelta = timedelta(seconds=30)
    """How long a drain lets handlers finish before it releases what they hold."""
    keep_marks: timedelta = KEEP_MARKS
    """How long a handled message is remembered; what comes again later is handled again."""
    stall_after: timedelta = timedelta(seconds=60)
    """How long fetching, committing, publishing or settling may stand still before readiness turns red."""
    code_version: str = "unknown"
    """Which version of the user's code runs; dead letters keep it."""


_NO_TOPICS: Mapping[str, TopicSettings] = MappingProxyType({})
_NO_SERVICES: Mapping[str, Mapping[str, object]] = MappingProxyType({})


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that was set, checked. `common` holds for each service that sets nothing else."""

    common: ServiceSettings
    modules: tuple[str, ...] = ()
    health: int | None = None
    """The port of liveness and readiness; none is opened when None."""
    topics: Mapping[str, TopicSettings] = _NO_TOPICS
    overrides: Mapping[str, Mapping[str, object]] = _NO_SERVICES
    """What `[services.NAME]` sets, by name of the service."""
    file: Path | None = None
    folder: Path = Path()
    """The folder of the file, or the one that was searched from."""

    @property
    def broker(self) -> str:
        return self.common.broker

    def of_service(self, name: str) -> ServiceSettings:
        """What holds for this service."""
        return msgspec.structs.replace(self.common, **self.overrides.get(name, {}))

    def topic(self, name: str) -> TopicSpec:
        """How this topic is to be made."""
        found = self.topics.get(name, TopicSettings())
        return TopicSpec(name, found.partitions, found.keep_for, found.keep_bytes)


def load_settings(
    arguments: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    start: Path | None = None,
) -> Settings:
    """Settings for a process in the folder `start` (the current one); arguments that are None are not set.

    Raises SettingsError that names the setting, where it was set, and how to mend it.
    """
    folder = (start or Path.cwd()).absolute()
    file = find_file(folder)
    document = read_file(file) if file else {}
    given = {name: value for name, value in (arguments or {}).items() if value is not None}
    return combine(given, os.environ if environment is None else environment, document, file, folder)


def find_file(folder: Path) -> Path | None:
    """The nearest `antiphon.toml`, from `folder` upwards."""
    return next((path for path in (place / FILE_NAME for place in (folder, *folder.parents)) if path.is_file()), None)


def read_file(file: Path) -> dict[str, object]:
    """The file as TOML. Raises SettingsError."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: not TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: not UTF-8 at byte {error.start}: save it as UTF-8") from error
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error


def combine(
    arguments: Mapping[str, object],
    environment: Mapping[str, str],
    document: Mapping[str, object],
    file: Path | None,
    folder: Path,
) -> Settings:
    """Arguments over environment over file over defaults. No I/O. Raises SettingsError."""
    home = file.parent if file else folder
    source = str(file or FILE_NAME)
    plain = {name: value for name, value in document.items() if name not in _TABLES}
    from_file = _anchored(read_table(plain, TOP, source, also=tuple(_TABLES)), home)
    nearer = {**read_environment(environment), **read_table(arguments, TOP, "argument")}
    values = {"broker": f"{_EMBEDDED}{home / DEFAULT_PATH}", **from_file, **_anchored(nearer, folder)}
    topics, services = (_tables(document.get(name, {}), name, source) for name in _TABLES)
    return Settings(
        common=msgspec.convert({name: values[name] for name in values if name in SERVICE}, ServiceSettings),
        modules=msgspec.convert(values.get("modules", ()), tuple[str, ...]),
        health=msgspec.convert(values.get("health"), int | None),
        topics={name: msgspec.convert(table, TopicSettings) for name, table in topics.items()},
        overrides={name: _above(_anchored(table, home), nearer) for name, table in services.items()},
        file=file,
        folder=home,
    )


def _tables(written: object, name: str, source: str) -> dict[str, dict[str, object]]:
    example = f"write a table for each, as in [{name}.orders]"
    tables = _table(written, f"{source}: {name} = {written!r}: {example}")
    return {
        one: read_table(
            _table(table, f"{source}: {name}.{one} = {table!r}: {example}"), _TABLES[name], source, f"{name}.{one}."
        )
        for one, table in tables.items()
    }


def _table(written: object, otherwise: str) -> dict[str, object]:
    if not isinstance(written, dict):
        raise SettingsError(otherwise)
    return cast("dict[str, object]", written)


def _above(table: dict[str, object], nearer: Mapping[str, object]) -> dict[str, object]:
    """A service's own settings, without those that an argument or the environment replaces for all."""
    return {name: value for name, value in table.items() if name not in nearer}


def _anchored(values: dict[str, object], folder: Path) -> dict[str, object]:
    """The relative path of a file is relative to where it was written down, not to where somebody stands."""
    for name, scheme in _FILES.items():
        url = values.get(name)
        if isinstance(url, str) and url.startswith(scheme):
            path, _, query = url.removeprefix(scheme).partition("?")
            values = {**values, name: f"{scheme}{folder / path}{'?' if query else ''}{query}"}
    return values
