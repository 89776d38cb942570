"""Where is a RabbitMQ server, and do we agree with it on TLS?"""

from __future__ import annotations

import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from antiphon.brokers.tls import final
from antiphon.errors import BrokerError

_GREETING = b"AMQP\0\0\0\0"
"""Of a version that there is not: a server answers with the one that it speaks."""


class Server(NamedTuple):
    """Where it is, with the secrets in `url` and without them in `shown`, and how TLS is spoken with it, if at all."""

    url: str
    shown: str
    tls: ssl.SSLContext | None = None

    async def why_not(self, error: BrokerError, *, is_unheard: bool) -> BrokerError:
        """What to raise for an error of opening it: another one where that came of TLS."""
        at = urlsplit(self.url)
        place = (at.hostname or "", at.port or 0)
        return await final(error, self.shown, place, self.tls, _GREETING if is_unheard else None) or error
