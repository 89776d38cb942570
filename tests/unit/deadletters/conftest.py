import pytest

from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing.clock import VirtualClock


@pytest.fixture
async def store():
    """Open, without a file that anyone named."""
    store = SqliteDatabase(":memory:")
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def clock():
    return VirtualClock()
