"""What is set aside keeps on PostgreSQL what it promises on SQLite."""

from tests.unit.storage.test_set_aside import *  # noqa: F403
