"""A store in which others are in the way of the next few transactions."""

from contextlib import asynccontextmanager

from antiphon.errors import TransactionConflictError


class Contested:
    """As `store`, but that `conflicts` transactions are undone first, each at its commit."""

    def __init__(self, store, conflicts=0, error=TransactionConflictError):
        self.store, self.conflicts, self.error = store, conflicts, error
        self.begun = 0

    def __getattr__(self, name):
        return getattr(self.store, name)

    @asynccontextmanager
    async def transaction(self):
        self.begun += 1
        async with self.store.transaction() as tx:
            yield tx
            if self.conflicts:
                self.conflicts -= 1
                raise self.error("another one was in the way")
