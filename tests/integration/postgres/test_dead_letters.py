"""Dead letters keep on PostgreSQL what they promise on SQLite."""

from tests.unit.storage.test_dead_letters import *  # noqa: F403
