"""Sessions and connections of SQLAlchemy: what other rooms and users may use of it."""

from antiphon.storage.sqlalchemy.connections import AlchemyConnection, AsyncAlchemyConnection
from antiphon.storage.sqlalchemy.sessions import SqlAlchemySessions

__all__ = ["AlchemyConnection", "AsyncAlchemyConnection", "SqlAlchemySessions"]
