"""Kafka behind TLS, with the ways of asking who comes that managed services have."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from antiphon.testing.servers import KafkaServer, free_port
from tests.integration.tls.authority import Authority

_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_TOKENS = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
_HOUR = timedelta(hours=1)


class Gates(NamedTuple):
    """One cluster behind several gates, each an address of its own."""

    server: KafkaServer
    authority: Authority
    passwords: str
    """TLS and PLAIN, as Confluent Cloud and Azure Event Hubs have it."""
    ended: str
    """The same, with a certificate that has ended."""
    tokens: str
    """TLS and OAUTHBEARER; whoever `token` names is believed, until its end."""
    certificates: str
    """TLS alone, on both sides."""


def gates(folder: Path) -> Gates:
    """Not started yet. At the gate of passwords `key` comes in with `secret`, `$ConnectionString` with `Endpoint`."""
    authority, server = Authority(folder), KafkaServer()
    good, ended = authority.sign("good"), authority.sign("ended", ended=True)
    ports = {name: free_port() for name in ("passwords", "ended", "tokens", "certificates")}
    own = server._all_settings()
    more = "".join(f",{name.upper()}://127.0.0.1:{port}" for name, port in ports.items())
    server._settings = {
        "listeners": own["listeners"] + more,
        "advertised.listeners": own["advertised.listeners"] + more,
        "listener.security.protocol.map": (
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PASSWORDS:SASL_SSL,ENDED:SASL_SSL,TOKENS:SASL_SSL,CERTIFICATES:SSL"
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(good.both),
        "listener.name.ended.ssl.keystore.location": str(ended.both),
        "listener.name.certificates.ssl.client.auth": "required",
        "listener.name.certificates.ssl.truststore.type": "PEM",
        "listener.name.certificates.ssl.truststore.location": str(authority.file),
        "sasl.enabled.mechanisms": "PLAIN",
        **{
            f"listener.name.{name}.plain.sasl.jaas.config": (
                f'{_PLAIN} required user_key="secret" user_$ConnectionString="Endpoint";'
            )
            for name in ("passwords", "ended")
        },
        "listener.name.tokens.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.tokens.oauthbearer.sasl.jaas.config": f'{_TOKENS} required unsecuredLoginStringClaim_sub="us";',
        "listener.name.tokens.oauthbearer.connections.max.reauth.ms": "60000",
    }
    return Gates(server, authority, **{name: f"127.0.0.1:{port}" for name, port in ports.items()})


def token(lasting: timedelta) -> tuple[str, float]:
    """One that nobody signed, and when it ends: such are believed by a Kafka that was not told whom to believe."""
    now = time.time()
    ends = now + lasting.total_seconds()
    claims = {"sub": "service", "iat": now - _HOUR.total_seconds(), "exp": ends}
    return f"{_part({'alg': 'none'})}.{_part(claims)}.", ends


def _part(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
