"""Replicas keep on PostgreSQL what they promise on SQLite."""

from tests.unit.storage.test_replicas import *  # noqa: F403
