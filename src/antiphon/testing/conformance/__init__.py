"""The promises of each port, as suites for the tests of whoever implements one."""

from antiphon.testing.conformance.brokers import BrokerConformance, LogConformance, QueueConformance
from antiphon.testing.conformance.storage import StoreConformance

__all__ = ["BrokerConformance", "LogConformance", "QueueConformance", "StoreConformance"]
