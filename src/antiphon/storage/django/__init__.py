"""Connections of Django: what other rooms and users may use of it."""

from antiphon.storage.django.connections import DjangoConnection
from antiphon.storage.django.sessions import DjangoSessions

__all__ = ["DjangoConnection", "DjangoSessions"]
