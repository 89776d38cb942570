"""Which broker carries the shop's events: the log in a file, one that the demo starts, or one of the user's?"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from types import MappingProxyType
from urllib.parse import parse_qsl, urlencode, urlsplit

from antiphon import AntiphonError, connect
from antiphon.brokers.ports import Broker
from antiphon.storage.secrets import without_secrets
from antiphon.testing.servers import SERVERS, PostgresServer, Server, ServerError
from examples.shop.stores import LOG

POSTGRES = ("postgres", "postgresql")
"""Both names of PostgreSQL."""
STREAMS = "rabbitmq-streams"
"""RabbitMQ once more, as a log."""
NAMES = tuple(sorted({*SERVERS, *POSTGRES, STREAMS}))
"""The brokers that the demo starts."""
SCHEMES = ("kafka", "nats", "redis", "rabbitmq", STREAMS, "postgresql")
ORDERS, PRODUCTS = TOPICS = ("orders", "products")

TAKEOVER: Mapping[str, str] = MappingProxyType(
    {"kafka": "6s", "nats": "2s", "redis": "2s", STREAMS: "2s", "postgresql": "2s"}
)
"""Under chaos: the lease, after which others take over what a killed process read. Kafka as it is installed allows no
less; RabbitMQ's queues notice a lost connection by themselves.
"""
USUAL: Mapping[str, Mapping[str, str]] = MappingProxyType({"postgresql": {"schema": "shop", "connections": "5"}})
"""Options that a URL gets where it does not say: the shop alone in a schema, few connections for each process."""
ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "kafka": "give another cluster, or delete these topics with kafka-topics.sh --delete",
        "nats": "end its URL with another namespace, as nats://host:4222/other, or delete these topics' streams",
        "redis": "end its URL with ?prefix=other, or delete the keys of that shop",
        "rabbitmq": "end its URL with ?prefix=other, or delete the queues and exchanges of that shop",
        STREAMS: "end its URL with ?prefix=other, or delete the streams of that shop",
        "postgresql": "end its URL with ?schema=other, or drop the schema of that shop",
    }
)


class BrokerChoiceError(Exception):
    """The shop cannot begin on this broker; the text says why, and how to mend it."""


def check_broker(choice: str) -> None:
    """Raises BrokerChoiceError for what is neither a name nor a URL of a broker."""
    if choice in NAMES or (urlsplit(choice).scheme in SCHEMES and "://" in choice):
        return
    near = get_close_matches(choice.lower(), NAMES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    urls = ", ".join(f"{scheme}://" for scheme in SCHEMES)
    raise BrokerChoiceError(
        f"there is no broker {without_secrets(choice)!r}{hint} Choose one that the demo starts ({', '.join(NAMES)}), "
        f"or the URL of yours ({urls}), such as kafka://host:9092"
    )


def check_room(choice: str, store: str) -> None:
    """Raises BrokerChoiceError where tables are to lie beside the log, and the broker has no room for them."""
    if store == LOG and choice not in POSTGRES and urlsplit(choice).scheme not in POSTGRES:
        raise BrokerChoiceError(
            f"{without_secrets(choice)} has no room for tables, as --store log wants: choose sqlite (a file for each "
            "service), postgres (on a server that the demo starts), or a URL: postgresql://user@host/database"
        )


@contextmanager
def carried(choice: str, *, chaos: bool) -> Generator[str]:
    """The URL of the broker that was chosen; one that the demo starts runs as long as the block.

    Raises BrokerChoiceError when it does not start.
    """
    if choice not in NAMES:
        yield with_options(choice, chaos=chaos)
        return
    server = _server(choice)
    try:
        try:
            server.start()
        except ServerError as error:
            raise BrokerChoiceError(f"the demo's own {server.name} does not run: {error}") from error
        url = server.url.replace("rabbitmq:", f"{STREAMS}:", 1) if choice == STREAMS else server.url
        yield with_options(url, chaos=chaos)
    finally:
        server.close()


def _server(name: str) -> Server:
    """The one to start; what it confirms shall outlast it where that is a choice."""
    if name in POSTGRES:
        return PostgresServer(durable=True)
    return SERVERS["rabbitmq" if name == STREAMS else name]()


def with_options(url: str, *, chaos: bool) -> str:
    """The URL with the options that the shop wants of it, where it does not say them itself."""
    place, _, query = url.partition("?")
    scheme = urlsplit(url).scheme
    wanted = dict(USUAL.get(scheme, {}))
    if chaos and scheme in TAKEOVER:
        wanted["lease"] = TAKEOVER[scheme]
    given = {name for name, _ in parse_qsl(query, keep_blank_values=True)}
    added = urlencode({name: value for name, value in wanted.items() if name not in given})
    options = "&".join(part for part in (query, added) if part)
    return f"{place}?{options}" if options else place


def broker_at(url: str) -> Broker:
    """The broker, not yet open. Raises BrokerChoiceError for options that it does not have."""
    try:
        return connect(url)
    except AntiphonError as error:
        raise BrokerChoiceError(str(error)) from error


async def open_for_a_new_shop(broker: Broker) -> None:
    """Open it. Raises BrokerChoiceError when it cannot be reached, or holds a shop already."""
    try:
        await broker.open()
        held = sorted({topic.name for topic in await broker.topics()} & set(TOPICS))
    except AntiphonError as error:
        raise BrokerChoiceError(str(error)) from error
    if held:
        way_out = ELSEWHERE.get(urlsplit(broker.url).scheme, "give another one")
        raise BrokerChoiceError(f"{broker.url} has the topics of a shop already ({', '.join(held)}): {way_out}")
