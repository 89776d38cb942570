"""Faults: a road to the server that is cut, a server that is emptied, and one with narrow limits."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import aio_pika

from antiphon.brokers.ports import DONE, Delivery, QueueSubscription, Settlement
from antiphon.errors import BrokerError
from antiphon.testing.servers import RabbitServer
from antiphon.testing.servers.rabbitmq import _library


class Road:
    """Passes everything on between clients and a server, until it is cut."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts = 0

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._to)
        self._open |= {writer, back}
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._copy(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                target.write(data)
                await target.drain()
        target.close()
        self._open.discard(target)

    def cut(self) -> None:
        """End every connection in the middle of whatever it does."""
        self.cuts += 1
        for writer in list(self._open):
            writer.transport.abort()
        self._open.clear()


@asynccontextmanager
async def a_road(url: str) -> AsyncIterator[tuple[Road, str]]:
    """A road to the server of that URL, and the URL of the road."""
    parts = urlsplit(url)
    road = Road(parts.hostname or "", parts.port or 0)
    server = await asyncio.start_server(road.pass_on, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield road, url.replace(f":{parts.port}", f":{port}", 1)
    finally:
        server.close()
        road.cut()
        for task in list(road._tasks):
            task.cancel()


class NarrowServer(RabbitServer):
    """Takes no message above 64 KiB, and waits three seconds for an acknowledgement."""

    def _environment(self, library: object) -> dict[str, str]:
        environment = super()._environment(library)  # type: ignore[arg-type]  # it is passed on
        limits = "-rabbit max_message_size 65536 -rabbit consumer_timeout 3000 -rabbit channel_tick_interval 500"
        environment["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"] += f" {limits}"
        return environment


def control(server: RabbitServer, *command: str) -> None:
    """As an operator does it with rabbitmqctl."""
    library = _library()
    environment = {**os.environ, **server._environment(library)}
    subprocess.run([str(library / "sbin" / "rabbitmqctl"), *command], env=environment, check=True, capture_output=True)


def wipe(server: RabbitServer) -> None:
    """Let it begin anew, with nothing."""
    server.kill()
    shutil.rmtree(server._folder / "data")
    server.start()


async def delete_queue(url: str, queue: str) -> None:
    """As an operator does it, by hand."""
    connection = await aio_pika.connect(url.replace("rabbitmq:", "amqp:", 1))
    async with connection:
        channel = await connection.channel()
        await channel.queue_delete(queue)


async def settle_surely(subscription: QueueSubscription, deliveries: Sequence[Delivery]) -> None:
    """Again and again, as a service does it."""
    async with asyncio.timeout(30):
        while True:
            try:
                await subscription.settle([Settlement(delivery, DONE) for delivery in deliveries])
                return
            except BrokerError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(0.05)
