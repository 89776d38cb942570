"""How are requests written in Redis's protocol, and replies read, with little work for each string in them?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

Arg = bytes | str | int
Reply = object
"""None, int, bytes, an error, or a list of these."""


def pack(args: Sequence[Arg]) -> bytes:
    """One command. Raises UnicodeEncodeError for text that no UTF-8 can hold."""
    parts = [b"*%d\r\n" % len(args)]
    add = parts.append
    for arg in args:
        raw = arg if isinstance(arg, bytes) else str(arg).encode()
        add(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


class Nothing:
    """What stands for a reply that is not complete."""


NOTHING: Final = Nothing()


class ReplyReader:
    """Bytes in, replies out. What is incomplete is gone on with, never begun again."""

    __slots__ = ("_at", "_buffer", "_depths", "_error", "missing")

    def __init__(self, error: Callable[[str], Exception]) -> None:
        self._error = error
        self._buffer = b""
        self._at = 0
        self._depths: list[tuple[list[Reply], int]] = []
        self.missing = 0
        """How many bytes are needed at least to go on, where that is known."""

    def feed(self, data: bytes) -> None:
        """Add what came."""
        rest = self._buffer[self._at :]
        self._buffer = rest + data if rest else data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        """Whether everything that came was taken."""
        return self._at >= len(self._buffer) and not self._depths

    def take(self) -> Reply:
        """The next reply, or NOTHING while it is not complete. Raises ValueError for what is no reply."""
        buffer, at, depths = self._buffer, self._at, self._depths
        find, size = buffer.find, len(buffer)
        items, wanted = depths.pop() if depths else (None, 0)
        value: Reply
        self.missing = 0
        while (end := find(b"\r\n", at)) >= 0:
            kind = buffer[at]
            if kind == 36:  # $
                length = int(buffer[at + 1 : end])
                start = end + 2
                if length < 0:
                    value, at = None, start
                else:
                    end = start + length
                    if end + 2 > size:
                        self.missing = end + 2 - size
                        break
                    value, at = buffer[start:end], end + 2
            elif kind == 42:  # *
                length = int(buffer[at + 1 : end])
                at = end + 2
                if length > 0:
                    if items is not None:
                        depths.append((items, wanted))
                    items, wanted = [], length
                    continue
                value = [] if length == 0 else None
            else:
                value, at = self._line(kind, buffer[at + 1 : end]), end + 2
            while items is not None:
                items.append(value)
                if len(items) < wanted:
                    break
                value = items
                items, wanted = depths.pop() if depths else (None, 0)
            else:
                self._at = at
                return value
        if items is not None:
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
