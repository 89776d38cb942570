"""Real servers for tests, started from packages, without containers and without root."""

from antiphon.testing.servers.postgres import PostgresServer
from antiphon.testing.servers.process import ServerError, ServerProcess, free_port
from antiphon.testing.servers.shared import shared_server

__all__ = ["PostgresServer", "ServerError", "ServerProcess", "free_port", "shared_server"]
