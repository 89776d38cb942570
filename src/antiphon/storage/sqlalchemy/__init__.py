"""Sessions and connections of SQLAlchemy: what other rooms and users may use of it."""

from antiphon.storage.sqlalchemy.connections import AlchemyConnection, AsyncAlchemyConnection

__all__ = ["AlchemyConnection", "AsyncAlchemyConnection"]
