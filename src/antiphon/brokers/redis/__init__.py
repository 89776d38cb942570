"""The broker on Redis Streams."""

from antiphon.brokers.redis.address import from_address
from antiphon.brokers.redis.broker import RedisBroker, RedisOptions

__all__ = ["RedisBroker", "RedisOptions", "from_address"]
