"""How does a test get a real Kafka? From its published jars, which Maven fetches once, on the system's Java."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from antiphon.testing.servers.base import PATIENCE, Server
from antiphon.testing.servers.cache import cached
from antiphon.testing.servers.process import ServerError, ServerMissingError, free_port

VERSION = "4.3.1"
_FETCHING = timedelta(minutes=5)
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>antiphon</groupId><artifactId>kafka</artifactId><version>1</version>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"""
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "5",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "5",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    "log.retention.check.interval.ms": "1000",
}


_ASK_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""ApiVersions, version 0: what it can do."""


class KafkaServer(Server):
    """A Kafka of one node, broker and controller in one. `settings` are Kafka's own, beside or instead of ours.

    With `fast` the Java machine compiles little, which starts sooner and runs slower: no benchmark may do so.
    """

    name: ClassVar[str] = "Kafka"

    def __init__(self, *, settings: dict[str, str] | None = None, fast: bool = True, memory: str = "512m") -> None:
        super().__init__()
        self._controller = free_port()
        self._settings = settings or {}
        self._java = ["-Xms128m", f"-Xmx{memory}", *(["-XX:TieredStopAtLevel=1"] if fast else [])]

    @property
    def url(self) -> str:
        return f"kafka://127.0.0.1:{self._port}"

    @property
    def address(self) -> str:
        """As Kafka's own tools and clients take it."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        settings = self._folder / "server.properties"
        if not settings.exists():
            settings.write_text("".join(f"{name}={value}\n" for name, value in self._all_settings().items()), "utf-8")
            self.run("kafka.tools.StorageTool", "format", *self._identity(), "-c", str(settings))
        command = [*_java(), *self._java, "kafka.Kafka", str(settings)]
        self._process.start(command, self._may_go_on, patience=PATIENCE)

    def run(self, program: str, *arguments: str) -> str:
        """What one of Kafka's own tools prints. Raises ServerError when it fails."""
        done = subprocess.run([*_java(), "-Xmx256m", program, *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServerError(f"{program} {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout

    def _identity(self) -> list[str]:
        """Which cluster its data belong to: one of its own."""
        return ["--standalone", "-t", self.run("kafka.tools.StorageTool", "random-uuid").strip()]

    def _may_go_on(self) -> bool:
        """Whether whoever starts it need not wait any longer."""
        return self.is_ready()

    def _all_settings(self) -> dict[str, str]:
        own, controller = f"PLAINTEXT://127.0.0.1:{self._port}", f"127.0.0.1:{self._controller}"
        return {
            **SETTINGS,
            "controller.quorum.bootstrap.servers": controller,
            "listeners": f"{own},CONTROLLER://{controller}",
            "advertised.listeners": own,
            "log.dirs": str(self._folder / "data"),
            **self._settings,
        }

    def is_ready(self) -> bool:
        """Whether it answers what each client asks first: its port is open before it serves. Waits a second at most."""
        moment = timedelta(seconds=1).total_seconds()
        try:
            with socket.create_connection(("127.0.0.1", self._port), moment) as connection:
                connection.settimeout(moment)
                connection.sendall(_ASK_VERSIONS)
                return len(connection.recv(64)) > len(_ASK_VERSIONS)
        except OSError:
            return False


def _java() -> list[str]:
    """How a program of Kafka's is begun. Raises ServerMissingError."""
    java = shutil.which("java")
    if java is None:
        raise ServerMissingError("there is no Java for Kafka: install openjdk-17-jre-headless")
    return [java, "-cp", f"{cached(f'kafka-{VERSION}', _fetch)}/*"]


def _fetch(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerMissingError("there is no Kafka yet, and no Maven to fetch it: install maven")
    (folder / "pom.xml").write_text(_POM, "utf-8")
    command = [maven, "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=_FETCHING.total_seconds()
    )
    if done.returncode != 0:
        raise ServerError(f"Kafka's jars cannot be fetched: {done.stdout[-2000:]}{done.stderr[-2000:]}")
