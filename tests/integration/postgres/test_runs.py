"""Runs and suspects keep on PostgreSQL what they promise on SQLite."""

from tests.unit.storage.test_runs import *  # noqa: F403
