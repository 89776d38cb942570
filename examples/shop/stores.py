"""Where does each service keep its tables: beside the log, in a file of its own, or on a PostgreSQL?"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from antiphon import AntiphonError
from antiphon.storage.connect import connect_store
from antiphon.storage.database import Database
from antiphon.storage.migrations import own_migrations
from antiphon.storage.outbox import is_outbox_empty
from antiphon.storage.secrets import without_secrets
from antiphon.storage.set_aside import next_moment
from antiphon.testing.servers import PostgresServer, ServerError
from examples.shop.processes import SERVICES

LOG, SQLITE, POSTGRES = "log", "sqlite", "postgres"
CHOICES = (LOG, SQLITE, POSTGRES)
SCHEMES = ("postgresql", "postgres")

EVER = datetime(1970, 1, 1, tzinfo=UTC)

SCHEMA = "shop"
"""What the schemas of the services begin with, where the URL names none."""
CONNECTIONS = "5"
"""The most that each process opens: with two processes of some services they fit a server as it is installed."""


class StoreChoiceError(Exception):
    """The shop cannot begin on this store; the text says why, and how to mend it."""


def usual_store(broker: str | None) -> str:
    """Where tables are kept when nobody says: beside the log, which other brokers have no room for."""
    return LOG if broker is None else SQLITE


def check_choice(choice: str) -> None:
    """Raises StoreChoiceError for what is no place for stores."""
    if choice in CHOICES or urlsplit(choice).scheme in SCHEMES:
        return
    near = get_close_matches(choice.lower(), CHOICES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise StoreChoiceError(
        f"there is no store {without_secrets(choice)!r}{hint} Choose log (all tables in the log's file), "
        "sqlite (a file for each service), postgres (on a server that the demo starts), or a URL: "
        "postgresql://user@host/database"
    )


@contextmanager
def served(choice: str) -> Generator[str]:
    """The choice, with the URL of a server in the place of `postgres`: one that runs as long as the block.

    Raises StoreChoiceError when it does not start.
    """
    if choice != POSTGRES:
        yield choice
        return
    server = PostgresServer(durable=True)
    try:
        try:
            server.start()
        except ServerError as error:
            raise StoreChoiceError(f"the demo's own PostgreSQL does not run: {error}") from error
        yield server.url
    finally:
        server.close()


def urls_of(place: str, folder: Path) -> dict[str, str]:
    """The URL of each service's store; none where all lie beside the log."""
    if place == LOG:
        return {}
    if place == SQLITE:
        return {service: f"sqlite:///{quote(str(folder / service))}.db" for service in SERVICES}
    return {service: _in_schema(place, service) for service in SERVICES}


def _in_schema(url: str, service: str) -> str:
    place, _, query = url.partition("?")
    options = {"connections": CONNECTIONS, "schema": SCHEMA, **dict(parse_qsl(query, keep_blank_values=True))}
    options["schema"] = f"{options['schema']}_{service}"
    return f"{place}?{urlencode(options, quote_via=quote)}"


class Stores:
    """The stores of the services, as the demo looks into them: to show, to wait, and to audit."""

    def __init__(self, log: Database, urls: Mapping[str, str]) -> None:
        self.log, self.urls = log, urls
        self.own: dict[str, Database] = {}
        self._stack = AsyncExitStack()

    def of(self, service: str) -> Database:
        """The store of a service."""
        return self.own.get(service, self.log)

    @property
    def every(self) -> list[Database]:
        """Each one once, with that of the log."""
        return [self.log, *self.own.values()]

    async def open(self) -> None:
        """Open those of services. Raises StoreChoiceError, also when there is a shop already."""
        try:
            for service, url in self.urls.items():
                self.own[service] = await self._open(url)
        except AntiphonError as error:
            raise StoreChoiceError(str(error)) from error

    async def _open(self, url: str) -> Database:
        store, ours = connect_store(url), own_migrations()
        if len(await store.missing("antiphon", ours)) < len(ours):
            raise StoreChoiceError(f"{without_secrets(url)} holds a shop already: {self._way_out()}")
        await store.open()
        self._stack.push_async_callback(store.close)
        return store

    def _way_out(self) -> str:
        schemas = [f'"{name}"' for url in self.urls.values() if (name := _schema(url))]
        if not schemas:
            return "give another folder, or delete what is in it"
        return (
            "give another database, end its URL with ?schema=other, or delete that shop by: "
            f"drop schema if exists {', '.join(schemas)} cascade"
        )

    async def close(self) -> None:
        """Close what `open` opened. Twice is safe."""
        await self._stack.aclose()

    async def are_at_rest(self) -> bool:
        """Whether no event waits for a relay, and no message for another attempt."""
        for store in self.every:
            # In this order: what is handled between the two has left the one for the other.
            if await next_moment(store, EVER) or not await is_outbox_empty(store):
                return False
        return True


def _schema(url: str) -> str:
    return dict(parse_qsl(urlsplit(url).query)).get("schema", "")
