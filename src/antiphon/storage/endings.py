"""What is said to a handler that ends the transaction of a session or connection that it was given?"""

from __future__ import annotations

from antiphon.errors import TransactionEndedError

_LEAVE_IT = (
    "leave commit, rollback and close to the service, which commits when the handler returns, with its mark and its "
    "events, and rolls back when it raises"
)


def refused_ending(tried: str, name: str) -> TransactionEndedError:
    """For one that would have ended it, and was kept from that."""
    return TransactionEndedError(
        f"a handler called {tried} on {name}, which it was given: {_LEAVE_IT}; nothing was ended"
    )


def ended(name: str, found: object) -> TransactionEndedError:
    """For one that has ended it."""
    return TransactionEndedError(
        f"a handler ended the transaction of {name}, which it was given ({found}): {_LEAVE_IT}"
    )
