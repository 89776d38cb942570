"""Kafka: a cluster of brokers that keep a durable partitioned log."""

from antiphon.brokers.kafka.address import from_address
from antiphon.brokers.kafka.broker import KafkaBroker
from antiphon.brokers.kafka.options import Access, KafkaOptions
from antiphon.brokers.kafka.subscription import KafkaSubscription

__all__ = ["Access", "KafkaBroker", "KafkaOptions", "KafkaSubscription", "from_address"]
