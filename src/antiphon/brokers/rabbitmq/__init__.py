"""RabbitMQ: quorum queues with one active reader, publisher confirms, delays and dead letters of its own."""

from antiphon.brokers.rabbitmq.address import from_address
from antiphon.brokers.rabbitmq.broker import RabbitBroker

__all__ = ["RabbitBroker", "from_address"]
