"""Connections of Django: what other rooms and users may use of it."""

from antiphon.storage.django.connections import DjangoConnection

__all__ = ["DjangoConnection"]
