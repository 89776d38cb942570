"""What becomes of a function that makes tokens, when it fails in a thread of the driver's?"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

logger = logging.getLogger("antiphon.brokers.kafka")

Token = Callable[[str], tuple[str, float]]
"""Makes a token for SASL/OAUTHBEARER from its configuration: the token, and when it ends in seconds since 1970."""


class Tokens:
    """Makes tokens as it was told, and keeps why it did not the last time: the driver forgets that."""

    def __init__(self, make: Token) -> None:
        self._make = make
        self.failure: str | None = None

    def __call__(self, config: str) -> tuple[str, float]:
        try:
            token, ends = self._make(config)
        except Exception as error:
            self._fail(f"the function that makes tokens raised {error!r}")
            raise
        if (over := time.time() - ends) >= 0:
            self._fail(f"the function that makes tokens gave one that ended {over:.0f} s ago")
        else:
            self.failure = None
        return token, ends

    def _fail(self, why: str) -> None:
        if why != self.failure:
            logger.error("%s; it is asked again", why)
        self.failure = why
