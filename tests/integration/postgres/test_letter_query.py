"""Questions about dead letters keep on PostgreSQL what they promise on SQLite."""

from tests.unit.storage.test_letter_query import *  # noqa: F403
