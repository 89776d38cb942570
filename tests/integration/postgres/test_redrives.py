"""Redrives keep on PostgreSQL what they promise on SQLite."""

from tests.unit.storage.test_redrives import *  # noqa: F403
