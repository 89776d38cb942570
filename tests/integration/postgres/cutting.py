"""A road to a server that a test can cut: at once, or once the server has heard and before its answer is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Road:
    """Passes on what both sides say. While `holding` the server's answers wait."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self._joins: set[asyncio.Task[None]] = set()
        self.holding = False
        self.held = asyncio.Event()
        """Set once something is held back."""
        self.joined = 0
        """How many connections were made."""

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.joined += 1
        task = asyncio.current_task()
        assert task is not None
        self._joins.add(task)
        task.add_done_callback(self._joins.discard)
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, back]
        await asyncio.gather(self._pass(reader, back, answers=False), self._pass(there, writer, answers=True))

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        """Cut all, and return when nothing is passed on any more: what still runs when a loop ends is not closed."""
        await asyncio.sleep(0.01)  # who has just come joins first
        while self._joins:
            self.cut()
            await asyncio.wait(self._joins, timeout=0.1)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        try:
            while data := await reader.read(65536):
                if answers and self.holding:
                    self.held.set()
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()


@asynccontextmanager
async def road_to(port: int, kind: type[Road] = Road) -> AsyncIterator[tuple[Road, int]]:
    """A road, and the port where it begins."""
    road = kind(port)
    server = await asyncio.start_server(road.join, "127.0.0.1", 0)
    try:
        yield road, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await road.close()
