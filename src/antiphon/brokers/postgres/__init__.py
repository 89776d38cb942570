"""The broker in a PostgreSQL database."""

from antiphon.brokers.postgres.address import from_address
from antiphon.brokers.postgres.broker import PostgresBroker
from antiphon.brokers.postgres.log import LOG, log_migrations

__all__ = ["LOG", "PostgresBroker", "from_address", "log_migrations"]
