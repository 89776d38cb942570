"""Which small programs run inside the server, and how are they called?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Protocol

from antiphon.brokers.redis.driver import wiped
from antiphon.brokers.redis.resp import Arg, Reply, pack, pack_args
from antiphon.errors import BrokerError

_LUA = files("antiphon.brokers.redis").joinpath("lua")


Tail = tuple[int, Sequence[bytes]]
"""Arguments that are written already: how many there are, and they."""
_NO_TAIL: Tail = (0, ())


class Asking(Protocol):
    """A connection, or several."""

    async def send(self, packed: Sequence[bytes], count: int) -> list[Reply]: ...


_NEEDS_ROOM = ("publish", "ensure")
"""Refused whole while the server's memory is full; all others must go on then, so that it empties."""
_READS = ("count", "ends", "lag", "states")


class Script:
    """One program. All begin with the same definitions and with a look at whose log this is."""

    def __init__(self, name: str) -> None:
        flags = "" if name in _NEEDS_ROOM else " flags=no-writes" if name in _READS else " flags=allow-oom"
        parts = [_LUA.joinpath(f"{each}.lua").read_text("utf-8") for each in ("common", name)]
        self.text = "\n".join([f"#!lua{flags}", *parts]).encode()
        self.digest = sha1(self.text, usedforsecurity=False).hexdigest().encode()


@cache
def script(name: str) -> Script:
    """The program of that name."""
    return Script(name)


class Programs:
    """Calls programs of one log: its prefix and its id go with each call."""

    def __init__(self, prefix: str, url: str) -> None:
        self.prefix, self._url = prefix, url
        self.id_key = f"{prefix}:id".encode()
        self._id = b""

    def adopt(self, id: bytes) -> None:
        """The id of the log that the server holds now."""
        self._id = id

    def check(self, id: Reply) -> None:
        """Raise DataLostError when this is not the id of the log."""
        if id != self._id:
            raise wiped(self._url)

    async def run(self, link: Asking, name: str, *args: Arg) -> Reply:
        """What a program returns. Raises as `Link.ask`."""
        (reply,) = await self.run_then(link, name, args, _NO_TAIL, ())
        return reply

    async def run_then(
        self, link: Asking, name: str, args: Sequence[Arg], tail: Tail, then: Sequence[Sequence[Arg]]
    ) -> list[Reply]:
        """As `run`, with arguments that are written already, and commands sent right after it on its connection."""
        program = script(name)
        after = [pack(command) for command in then]
        head = (1, self.id_key, self.prefix, self._id, *args)
        try:
            return await link.send([*_call((b"EVALSHA", program.digest, *head), tail), *after], 1 + len(after))
        except BrokerError as error:
            # The server was restarted, or its programs were flushed. Nothing ran, so that it may simply be sent.
            if not str(error.__cause__).startswith(("NOSCRIPT", "No matching script")):
                raise
            return await link.send([*_call((b"EVAL", program.text, *head), tail), *after], 1 + len(after))


def _call(args: Sequence[Arg], tail: Tail) -> list[bytes]:
    count, packed = tail
    return [b"*%d\r\n%b" % (len(args) + count, pack_args(args)), *packed]
