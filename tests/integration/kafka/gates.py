"""Kafka behind TLS, with the ways of asking who comes that managed services have, and who signs its certificates."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from antiphon.testing.servers import KafkaServer, free_port

_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_TOKENS = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
_HOUR = timedelta(hours=1)
_RULES = """[ca]
default_ca = authority
[authority]
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
policy = policy
unique_subject = no
[policy]
commonName = supplied
[names]
subjectAltName = IP:127.0.0.1
"""
HAS_OPENSSL = shutil.which("openssl") is not None


class Certificate(NamedTuple):
    """Its file, that of its key, and one with both."""

    itself: Path
    key: Path
    both: Path


class Authority:
    """Signs certificates of 127.0.0.1 in a folder; `file` is what those trust who trust it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.file = folder, folder / "authority.pem"
        (folder / "index.txt").touch()
        (folder / "serial").write_text("01", "utf-8")
        (folder / "rules").write_text(_RULES, "utf-8")
        self._run("req", "-x509", *_new_key("authority.key"), "-days", "2", "-out", str(self.file))

    def sign(self, name: str, *, ended: bool = False) -> Certificate:
        """A certificate of that name, which ends in an hour or ended an hour ago."""
        itself, key, both = (self._folder / f"{name}.{part}" for part in ("crt", "key", "both"))
        self._run("req", *_new_key(str(key)), "-out", f"{name}.csr")
        now = datetime.now(UTC)
        self._run(
            "ca", "-batch", "-notext", "-config", "rules", "-cert", str(self.file), "-keyfile", "authority.key",
            "-extensions", "names", "-startdate", _moment(now - 2 * _HOUR),
            "-enddate", _moment(now - _HOUR if ended else now + _HOUR), "-in", f"{name}.csr", "-out", str(itself),
        )  # fmt: skip
        both.write_text(key.read_text("utf-8") + itself.read_text("utf-8"), "utf-8")
        return Certificate(itself, key, both)

    def _run(self, *command: str) -> None:
        subprocess.run(["openssl", *command], check=True, capture_output=True, cwd=self._folder)


def _new_key(file: str) -> tuple[str, ...]:
    return "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", file


def _moment(when: datetime) -> str:
    return when.strftime("%Y%m%d%H%M%SZ")


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
