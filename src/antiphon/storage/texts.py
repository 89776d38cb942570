"""Which texts that came with messages can every store keep and index? The others are known by their hash."""

from __future__ import annotations

import hashlib

LONGEST = 512
"""Bytes of UTF-8. PostgreSQL indexes rows of 2,704 bytes at most, and some of ours hold several such texts."""
_SURELY_SHORT = LONGEST // 4


def kept(text: str) -> str:
    """A text as it is kept in a column: itself, or `sha256:` and its hash. The same text always gives the same.

    Hashed is what is long, and what has a zero character: that ends a JSON string on SQLite, and no text on PostgreSQL
    has one. Use it where a text is compared or searched for; never where it is read back.
    """
    if len(text) <= _SURELY_SHORT and "\0" not in text:
        return text
    data = text.encode("utf-8", "surrogatepass")
    return text if len(data) <= LONGEST and b"\0" not in data else f"sha256:{hashlib.sha256(data).hexdigest()}"
