"""Real servers for tests, started from packages, without containers and without root."""

from antiphon.testing.servers.base import Server
from antiphon.testing.servers.kafka import KafkaServer
from antiphon.testing.servers.kafka_cluster import KafkaCluster, KafkaNode
from antiphon.testing.servers.nats import NatsServer
from antiphon.testing.servers.postgres import PostgresServer
from antiphon.testing.servers.process import ServerError, ServerMissingError, ServerProcess, free_port
from antiphon.testing.servers.rabbitmq import RabbitServer
from antiphon.testing.servers.shared import SERVERS, shared_server
from antiphon.testing.servers.valkey import RedisServer, ValkeyServer

__all__ = [
    "SERVERS",
    "KafkaCluster",
    "KafkaNode",
    "KafkaServer",
    "NatsServer",
    "PostgresServer",
    "RabbitServer",
    "RedisServer",
    "Server",
    "ServerError",
    "ServerMissingError",
    "ServerProcess",
    "ValkeyServer",
    "free_port",
    "shared_server",
]
