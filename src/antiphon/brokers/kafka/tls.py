"""Why do a server and we not agree on TLS? The driver seldom says it, so this greets the server once without it."""

from __future__ import annotations

import socket
import ssl
from typing import NamedTuple

from antiphon.brokers.kafka.options import KafkaOptions
from antiphon.brokers.tls import not_believed

_PATIENCE = 2.0
_MOMENT = 0.5
"""Seconds in which a server says that it does not believe our certificate: it does so after the greeting."""


class Disagreement(NamedTuple):
    """What is wrong and how to mend it; whether that is certain, since a server that goes down looks alike."""

    why: str
    is_certain: bool = True


def disagreement(servers: str, options: KafkaOptions) -> Disagreement | None:
    """None when nothing is wrong with TLS, or nobody answers there. Blocks for some seconds at most."""
    host, _, port = servers.partition(",")[0].rpartition(":")
    try:
        context = _context(options)
    except (OSError, ValueError) as error:
        return Disagreement(f"the files of tls_ca, tls_certificate or tls_key cannot be used: {error}")
    try:
        _greet(context, host.strip("[]"), int(port))
    except ssl.SSLCertVerificationError as error:
        return Disagreement(not_believed(error))
    except (ssl.SSLEOFError, ConnectionResetError):
        hint = "it may speak no TLS on this port: look at the port and at tls"
        return Disagreement(f"it ends the greeting of TLS: {hint}", is_certain=False) if options.tls else None
    except ssl.SSLError as error:
        return _refused(error) if options.tls else None
    except OSError:
        return None
    return None if options.tls else Disagreement("it speaks TLS on this port: say tls=true")


def _context(options: KafkaOptions) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.tls_ca)
    if not options.tls:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if options.tls_certificate is not None:
        context.load_cert_chain(options.tls_certificate, options.tls_key, options.tls_key_password)
    return context


def _greet(context: ssl.SSLContext, host: str, port: int) -> None:
    with (
        socket.create_connection((host, port), _PATIENCE) as connection,
        context.wrap_socket(connection, server_hostname=host) as greeted,
    ):
        greeted.settimeout(_MOMENT)
        try:
            greeted.recv(1)
        except TimeoutError:
            return


def _refused(error: ssl.SSLError) -> Disagreement:
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if "alert" in reason and ("certificate" in reason or "bad cert" in reason):
        return Disagreement(
            f"it does not believe our certificate ({reason}): renew tls_certificate, or let it be known"
        )
    return Disagreement(f"the greeting of TLS fails ({reason}): look at the port and at tls")
