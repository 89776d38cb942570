"""What is scheduled keeps on PostgreSQL what it promises on SQLite."""

from tests.unit.storage.test_schedule import *  # noqa: F403
