"""What can be said about a cluster, and how is that told to the driver?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from msgspec import Struct, structs

from antiphon.brokers.capabilities import MessageLimit
from antiphon.brokers.kafka.tokens import Token, Tokens
from antiphon.brokers.kafka.topics import USUAL_LARGEST
from antiphon.errors import SettingsError
from antiphon.events.amounts import show_duration

Sasl = Literal["plain", "scram-sha-256", "scram-sha-512", "oauthbearer"]

_driver_log = logging.getLogger("antiphon.brokers.kafka.driver")
# It tells of every try. Where nobody set up logging, such as in a command, our errors say it once.
_driver_log.addHandler(logging.NullHandler())
_HEADROOM = 48_000
"""Bytes of headers, key and framing that a message may have beside its data, below what clusters take unless told."""
_LONGEST_SEARCH = timedelta(seconds=6)
_LONGEST_STALL = timedelta(minutes=5)
_AT_ONCE = 256 << 10
"""Bytes of one partition in one answer, so that those with much leave room for the others."""
_READ_AHEAD = 16 << 10
"""Kibibytes that the driver reads ahead of us."""
_ROOM = 5
"""Milliseconds until the driver, once it has read so far, looks whether there is room again; else it rests a second."""


class Profile(Struct, frozen=True):
    """What a service that speaks Kafka's protocol wants otherwise."""

    options: Mapping[str, object]
    common: Mapping[str, object]
    publishing: Mapping[str, object]


_IDLE_FOR = 180_000
"""Milliseconds below the 4 minutes after which Azure's gateway drops a connection in silence."""
PROFILES: Mapping[str, Profile] = {
    "confluent-cloud": Profile({"tls": True}, {"socket.keepalive.enable": True}, {}),
    "event-hubs": Profile(
        {"tls": True, "compression": "none"},
        {
            "socket.keepalive.enable": True,
            "metadata.max.age.ms": _IDLE_FOR,
            "connections.max.idle.ms": _IDLE_FOR,
        },
        # Without idempotence only one request on its way keeps the order when one is sent again.
        {"enable.idempotence": False, "max.in.flight": 1},
    ),
}


class KafkaOptions(Struct, frozen=True, kw_only=True):
    """The options of a URL, and of `KafkaBroker`."""

    profile: Literal["confluent-cloud", "event-hubs"] | None = None
    """Settings that a managed service needs; they override others."""
    servers: str | None = None
    """More servers to ask first, as host:port, separated by commas."""
    tls: bool = False
    tls_ca: str | None = None
    """The file of who signed the servers' certificates, where the system does not know them."""
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_key_password: str | None = None
    sasl: Sasl | None = None
    """How the user of the URL shows who it is; `plain` when there is a user and nothing is said."""
    token_url: str | None = None
    """Where OAUTHBEARER gets a token for the user and password of the URL."""
    token_scope: str | None = None
    protocol: Literal["classic", "consumer"] = "classic"
    """Whether members share out partitions (cooperatively) or the cluster does, by KIP-848."""
    lease: timedelta = timedelta(seconds=45)
    """How long a member that is not heard of keeps its partitions."""
    beat: timedelta = timedelta(seconds=3)
    """How often a member is heard of. With the protocol `consumer` the cluster decides of both."""
    grace: timedelta = timedelta(seconds=10)
    """How long a member may work on what it was handed before a partition moves elsewhere."""
    patience: timedelta = timedelta(seconds=30)
    """How long the cluster may take to confirm."""
    max_message_bytes: MessageLimit = 1_000_000
    replication: int | None = None
    """Of topics that are made here; the cluster's own when None."""
    topic_settings: str | None = None
    """Kafka's own settings for topics that are made here, such as `min.insync.replicas=2,compression.type=zstd`."""
    compression: Literal["none", "lz4", "zstd", "snappy", "gzip"] = "lz4"


class Access(Struct, frozen=True, kw_only=True):
    """Who we are to the cluster. `token` makes tokens where no URL does."""

    user: str | None = None
    password: str | None = None
    token: Token | None = None


def with_profile(options: KafkaOptions) -> KafkaOptions:
    """The options as their profile wants them."""
    return options if options.profile is None else structs.replace(options, **PROFILES[options.profile].options)


def topic_settings(options: KafkaOptions) -> dict[str, str]:
    """What is said for each topic that is made. Raises SettingsError."""
    settings: dict[str, str] = {}
    for part in filter(None, (options.topic_settings or "").split(",")):
        name, found, value = part.partition("=")
        if not found:
            raise SettingsError(f"topic_settings has {part!r}: write name=value, separated by commas")
        settings[name.strip()] = value.strip()
    if options.max_message_bytes + _HEADROOM > USUAL_LARGEST:
        settings.setdefault("max.message.bytes", str(options.max_message_bytes + _HEADROOM))
    return settings


def _require_time(options: KafkaOptions) -> None:
    """Raise SettingsError where nobody could keep to it."""
    for name, span in (("lease", options.lease), ("beat", options.beat), ("patience", options.patience)):
        if span <= timedelta():
            raise SettingsError(f"{name} must be more than nothing, as in {name}=10s")
    if options.protocol == "classic" and options.beat >= options.lease:
        raise SettingsError(
            f"a member that is heard of every {show_duration(options.beat)} (beat) cannot keep a lease of "
            f"{show_duration(options.lease)}: let beat be less, best a third of the lease"
        )


def common(servers: str, options: KafkaOptions, access: Access) -> dict[str, object]:
    """What every client of the cluster is told. Raises SettingsError."""
    _require_time(options)
    conf: dict[str, object] = {
        "bootstrap.servers": f"{servers},{options.servers}" if options.servers else servers,
        "client.id": "antiphon",
        "logger": _driver_log,
        "log.connection.close": False,
        "reconnect.backoff.max.ms": 2000,
        "topic.metadata.refresh.fast.interval.ms": 50,
        "topic.metadata.propagation.max.ms": 5000,
    }
    sasl = options.sasl or _usual_sasl(options, access)
    conf["security.protocol"] = f"{'sasl_' if sasl else ''}{'ssl' if options.tls else 'plaintext'}"
    if options.profile is not None:
        conf.update(PROFILES[options.profile].common)
    return conf | _tls(options) | (_sasl(sasl, options, access) if sasl else {})


def _usual_sasl(options: KafkaOptions, access: Access) -> Sasl | None:
    if access.token is not None and access.user is None:
        return "oauthbearer"
    # Services that are managed let nobody in who does not say who it is.
    return "plain" if access.user is not None or options.profile is not None else None


def _tls(options: KafkaOptions) -> dict[str, object]:
    given = {
        "ssl.ca.location": options.tls_ca,
        "ssl.certificate.location": options.tls_certificate,
        "ssl.key.location": options.tls_key,
        "ssl.key.password": options.tls_key_password,
    }
    found: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if found and not options.tls:
        raise SettingsError("there are options for TLS, but it is off: say tls=true, too")
    if options.tls_certificate is None and (options.tls_key or options.tls_key_password) is not None:
        raise SettingsError("there is a key for TLS, but no tls_certificate, of which that is the key")
    return found


def _sasl(sasl: str, options: KafkaOptions, access: Access) -> dict[str, object]:
    conf: dict[str, object] = {"sasl.mechanism": sasl.upper()}
    if sasl == "oauthbearer" and access.token is not None:
        return conf | {"oauth_cb": Tokens(access.token)}
    if access.user is None or access.password is None:
        raise SettingsError(f"SASL {sasl} needs a user and a password: write kafka://user:password@host")
    if sasl != "oauthbearer":
        return conf | {"sasl.username": access.user, "sasl.password": access.password}
    if options.token_url is None:
        raise SettingsError("SASL oauthbearer needs token_url, or a function `token` given to KafkaBroker")
    conf |= {
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.client.id": access.user,
        "sasl.oauthbearer.client.secret": access.password,
        "sasl.oauthbearer.token.endpoint.url": options.token_url,
    }
    return conf if options.token_scope is None else conf | {"sasl.oauthbearer.scope": options.token_scope}


def publishing(base: Mapping[str, object], options: KafkaOptions) -> dict[str, object]:
    """What a producer is told: confirmed by all replicas, each message written once, keys placed as Java does."""
    return {
        **base,
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "linger.ms": 1,
        "compression.type": options.compression,
        "message.max.bytes": options.max_message_bytes + _HEADROOM,
        "message.timeout.ms": 0,
        "queue.buffering.max.kbytes": 64 << 10,
        **(PROFILES[options.profile].publishing if options.profile else {}),
    }


def transacting(conf: Mapping[str, object], group: str, member: str, longest: float) -> dict[str, object]:
    """What the producer of one member's transactions is told, given what every producer is."""
    milliseconds = int(longest * 1000)
    return {
        **conf,
        "transactional.id": f"antiphon-{group}-{member}",
        "transaction.timeout.ms": milliseconds,
        "delivery.report.only.error": True,
        "message.timeout.ms": milliseconds,
    }


def reading(base: Mapping[str, object], group: str) -> dict[str, object]:
    """What every consumer is told."""
    return {
        **base,
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
        "queued.max.messages.kbytes": _READ_AHEAD,
        "fetch.message.max.bytes": _AT_ONCE,
        "fetch.wait.max.ms": 500,
        "fetch.queue.backoff.ms": _ROOM,
    }


def watching(base: Mapping[str, object], group: str) -> dict[str, object]:
    """What a consumer is told that commits for its group, and reads what was committed, and never joins."""
    # How long the driver keeps a commit while it looks for the group's coordinator.
    return {**reading(base, group), "session.timeout.ms": _ms(_LONGEST_SEARCH)}


def joining(base: Mapping[str, object], group: str, member: str | None, options: KafkaOptions) -> dict[str, object]:
    """What a consumer is told that joins a group."""
    conf = {**reading(base, group), "client.id": member or "antiphon", "group.protocol": options.protocol}
    conf["max.poll.interval.ms"] = _ms(max(_LONGEST_STALL, 3 * options.grace, options.lease))
    if options.protocol == "classic":
        conf["partition.assignment.strategy"] = "cooperative-sticky"
        conf["session.timeout.ms"] = _ms(options.lease)
        conf["heartbeat.interval.ms"] = _ms(options.beat)
    return conf


def looking(base: Mapping[str, object]) -> dict[str, object]:
    """What a consumer is told that reads without a group."""
    return {
        **reading(base, "antiphon-looking"),
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 10,
        "fetch.queue.backoff.ms": 10,
    }


def listening(base: Mapping[str, object]) -> dict[str, object]:
    """What a consumer is told that reads replies without a group. Those that are gone are not waited for."""
    return {**reading(base, "antiphon-replies"), "auto.offset.reset": "latest"}


def peeking(base: Mapping[str, object]) -> dict[str, object]:
    """What a consumer is told that reads one message of each partition."""
    # Not told to read few ahead: one batch of one partition would be enough, and keep it from all others for a second.
    return {**looking(base), "fetch.message.max.bytes": 1024}


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
