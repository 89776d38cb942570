"""RabbitMQ: quorum queues with one active reader, publisher confirms, delays and dead letters of its own."""

from antiphon.brokers.rabbitmq.address import from_address, log_from_address
from antiphon.brokers.rabbitmq.broker import RabbitBroker
from antiphon.brokers.rabbitmq.log_broker import RabbitLogBroker

__all__ = ["RabbitBroker", "RabbitLogBroker", "from_address", "log_from_address"]
