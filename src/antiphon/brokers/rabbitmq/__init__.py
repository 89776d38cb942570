"""RabbitMQ: quorum queues with one active reader, publisher confirms, delays and dead letters of its own."""

import logging

from antiphon.brokers.rabbitmq.address import from_address, log_from_address
from antiphon.brokers.rabbitmq.broker import RabbitBroker
from antiphon.brokers.rabbitmq.log_broker import RabbitLogBroker

__all__ = ["RabbitBroker", "RabbitLogBroker", "from_address", "log_from_address"]

# The driver tells of every try. Where nobody set up logging, such as in a command, our errors say it once.
logging.getLogger("aiormq").addHandler(logging.NullHandler())
