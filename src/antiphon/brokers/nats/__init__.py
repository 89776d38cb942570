"""The broker on NATS JetStream."""

from antiphon.brokers.nats.address import from_address
from antiphon.brokers.nats.broker import NatsBroker
from antiphon.brokers.nats.link import Login
from antiphon.brokers.nats.subscription import Patience
from antiphon.brokers.nats.topics import Shape

__all__ = ["Login", "NatsBroker", "Patience", "Shape", "from_address"]
