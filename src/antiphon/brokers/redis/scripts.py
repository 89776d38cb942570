"""Which small programs run inside the server, and how are they called?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Protocol

from antiphon.brokers.redis.resp import Arg, Reply, pack
from antiphon.errors import BrokerError

_LUA = files("antiphon.brokers.redis").joinpath("lua")


class Asking(Protocol):
    """A connection, or several."""

    async def send(self, packed: Sequence[bytes], count: int) -> list[Reply]: ...


class Script:
    """One program. All begin with the same definitions and with a look at whose log this is."""

    def __init__(self, name: str) -> None:
        parts = (_LUA.joinpath(f"{each}.lua").read_text("utf-8") for each in ("common", name))
        self.text = "\n".join(parts).encode()
        self.digest = sha1(self.text, usedforsecurity=False).hexdigest().encode()


@cache
def script(name: str) -> Script:
    """The program of that name."""
    return Script(name)


class Programs:
    """Calls programs of one log: its prefix and its id go with each call."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.id_key = f"{prefix}:id".encode()
        self._id = b""

    def adopt(self, id: bytes) -> None:
        """The id of the log that the server holds now."""
        self._id = id

    async def run(self, link: Asking, name: str, *args: Arg) -> Reply:
        """What a program returns. Raises as `Link.ask`."""
        (reply,) = await self.run_then(link, name, args, ())
        return reply

    async def run_then(
        self, link: Asking, name: str, args: Sequence[Arg], then: Sequence[Sequence[Arg]]
    ) -> list[Reply]:
        """As `run`, and what these commands return, sent right after it on the same connection."""
        program = script(name)
        after = [pack(command) for command in then]
        head = (1, self.id_key, self.prefix, self._id, *args)
        try:
            return await link.send([pack((b"EVALSHA", program.digest, *head)), *after], 1 + len(after))
        except BrokerError as error:
            # The server was restarted, or its programs were flushed. Nothing ran, so that it may simply be sent.
            if not str(error.__cause__).startswith(("NOSCRIPT", "No matching script")):
                raise
            return await link.send([pack((b"EVAL", program.text, *head)), *after], 1 + len(after))
