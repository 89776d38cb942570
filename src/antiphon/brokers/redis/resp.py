"""How are requests written in Redis's protocol, and replies read, with little work for each string in them?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

Arg = bytes | str | int
Reply = object
"""None, int, bytes, an error, or a list of these."""


def pack(args: Sequence[Arg]) -> bytes:
    """One command. Raises UnicodeEncodeError for text that no UTF-8 can hold."""
    return b"*%d\r\n%b" % (len(args), pack_args(args))


def pack_args(args: Sequence[Arg]) -> bytes:
    """Strings of a command, as they are sent. Raises UnicodeEncodeError for text that no UTF-8 can hold."""
    parts: list[bytes] = []
    for arg in args:
        raw = arg if isinstance(arg, bytes) else str(arg).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


class Nothing:
    """What stands for a reply that is not complete."""


NOTHING: Final = Nothing()


def _root() -> tuple[list[Reply], int]:
    """What holds the one reply that is read."""
    return [], 1


class ReplyReader:
    """Bytes in, replies out. What is incomplete is gone on with, never begun again."""

    __slots__ = ("_at", "_buffer", "_depths", "_error", "missing")

    def __init__(self, error: Callable[[str], Exception]) -> None:
        self._error = error
        self._buffer = b""
        self._at: int = 0
        self._depths: list[tuple[list[Reply], int]] = []
        self.missing = 0
        """How many bytes are needed at least to go on, where that is known."""

    def feed(self, data: bytes) -> None:
        """Add what came."""
        self.missing = 0
        rest = self._buffer[self._at :]
        self._buffer = rest + data if rest else data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        """Whether everything that came was taken."""
        return self._at >= len(self._buffer) and not self._depths

    def take(self) -> Reply:
        """The next reply, or NOTHING while it is not complete. Raises ValueError for what is no reply."""
        buffer, depths = self._buffer, self._depths
        at: int = self._at
        find, size = buffer.find, len(buffer)
        items, wanted = depths.pop() if depths else _root()
        value: Reply
        while (end := find(b"\r\n", at)) >= 0:
            kind, start = buffer[at], end + 2
            if kind == 36:  # $
                length = int(buffer[at + 1 : end])
                end = start + length
                if length < 0:
                    value = None
                    at = start
                elif end + 2 > size:
                    self.missing = end + 2 - size
                    break
                else:
                    value = buffer[start:end]
                    at = end + 2
            elif kind == 42:  # *
                length = int(buffer[at + 1 : end])
                at = start
                if length > 0:
                    depths.append((items, wanted))
                    items, wanted = [], length
                    continue
                value = [] if length == 0 else None
            else:
                value = self._line(kind, buffer[at + 1 : end])
                at = start
            items.append(value)
            while len(items) == wanted:
                if not depths:
                    self._at = at
                    return items[0]
                inner, (items, wanted) = items, depths.pop()
                items.append(inner)
        if items or depths:
            depths.append((items, wanted))
        self._at = at
        return NOTHING

    def _line(self, kind: int, text: bytes) -> Reply:
        if kind == 58:  # :
            return int(text)
        if kind == 43:  # +
            return text
        if kind == 45:  # -
            return self._error(text.decode("utf-8", "replace"))
        raise ValueError(f"no reply begins with {chr(kind)!r}")


def texts(values: Iterable[object]) -> list[str]:
    """These as text, where they are bytes or numbers."""
    return [value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value) for value in values]
