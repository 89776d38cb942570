"""How a label that anything may be in is kept from taking more values than a metrics store can hold."""

from __future__ import annotations

from antiphon.errors import UsageError

OTHER = "other"
"""What every value beyond the limit is counted as."""


class BoundedValues:
    """Lets the first `most` different values of each owner through, such as a handler's fingerprints.

    All later ones are `other`, until the process starts again: a value once let through is never taken back, since a
    series that stops would look like a failure that is over. Raises UsageError when `most` is below 1.
    """

    def __init__(self, most: int = 50) -> None:
        if most < 1:
            raise UsageError(f"a label was allowed {most} values: it needs at least 1")
        self._most = most
        self._seen: dict[str, set[str]] = {}

    def admit(self, owner: str, value: str) -> str:
        """`value`, or `other` when `owner` has as many different ones as it may have. Twice is the same."""
        seen = self._seen.setdefault(owner, set())
        if value in seen:
            return value
        if value == OTHER or len(seen) >= self._most:
            return OTHER
        seen.add(value)
        return value
