"""Who answers the probes: `/live`, `/ready` and `/metrics` over a very small HTTP/1.1, without any other package."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import timedelta
from http import HTTPStatus
from typing import NamedTuple

import msgspec

from antiphon.errors import SettingsError
from antiphon.observability.metrics import Metrics
from antiphon.observability.prometheus import CONTENT_TYPE, render_prometheus
from antiphon.runtime.health import HealthReport, ServiceHealth, liveness, readiness

log = logging.getLogger("antiphon.runtime")

MOST_CONNECTIONS = 32
MOST_BYTES = 8192
"""A request line and its headers; more is refused."""
PATIENCE = timedelta(seconds=5)
"""How long a client may take to send its request, or to read the answer."""
_BEAT = timedelta(seconds=1)
_JSON = "application/json"


class Answer(NamedTuple):
    status: HTTPStatus
    body: bytes
    content_type: str = _JSON
    allow: str | None = None


class Probes:
    """Answers probes about the services of this process; `port` 0 takes a free one.

    It listens on a thread of its own, so that it still answers, and says why, while a handler blocks the event loop.
    """

    def __init__(
        self, services: Sequence[ServiceHealth], metrics: Sequence[Metrics], port: int, host: str = "0.0.0.0"
    ) -> None:
        self.port = port
        self._services, self._metrics, self._host = services, metrics, host
        self._stop: Callable[[], object] | None = None
        self._thread: threading.Thread | None = None
        self._beating: asyncio.Task[None] | None = None
        self._open = 0

    async def start(self) -> None:
        """Listen; returns once it answers, with `port` known. Raises SettingsError when the port cannot be had."""
        listening: Future[int] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._listen(listening)), name="antiphon probes", daemon=True
        )
        self._thread.start()
        self.port = await asyncio.wrap_future(listening)
        log.info("probes on port %d", self.port)
        self._beating = asyncio.create_task(self._beat(), name="antiphon heartbeat")

    async def stop(self) -> None:
        """Stop listening. Twice is safe."""
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None
        if self._thread is not None and self._stop is not None:
            self._stop()
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    async def _listen(self, listening: Future[int]) -> None:
        stopped, loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            server = await asyncio.start_server(self._serve, self._host, self.port, limit=MOST_BYTES)
        except OSError as error:
            told = f"health: port {self.port} cannot be opened: {error.strerror}; give another with --health"
            listening.set_exception(SettingsError(told))
            return
        self._stop = lambda: loop.call_soon_threadsafe(stopped.set)
        listening.set_result(int(server.sockets[0].getsockname()[1]))
        await stopped.wait()
        server.close()

    async def _beat(self) -> None:
        """The heartbeat of the services' own loop: whatever blocks the loop keeps this from running."""
        for service in self._services:
            service.loop.begin()
        while True:
            for service in self._services:
                service.loop.beat()
            await asyncio.sleep(_BEAT.total_seconds())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                if self._open <= MOST_CONNECTIONS:
                    writer.write(await self._respond(reader))
                    await writer.drain()
        except (TimeoutError, ConnectionError):
            pass  # the client went away or dawdled: there is nobody to tell
        finally:
            self._open -= 1
            writer.close()

    async def _respond(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _written(_told(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), with_body=True)
        except asyncio.IncompleteReadError:
            return b""
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _written(_told(HTTPStatus.BAD_REQUEST), with_body=True)
        return _written(self.answer(words[0], words[1]), with_body=words[0] != "HEAD")

    def answer(self, method: str, target: str) -> Answer:
        """What `method` on `target` is answered."""
        routes: dict[str, Callable[[], Answer]] = {"/live": self._live, "/ready": self._ready, "/metrics": self._read}
        route = routes.get(target.partition("?")[0])
        if route is None:
            return _told(HTTPStatus.NOT_FOUND, f"there are {', '.join(routes)}")
        if method not in {"GET", "HEAD"}:
            return _told(HTTPStatus.METHOD_NOT_ALLOWED)._replace(allow="GET, HEAD")
        return route()

    def _live(self) -> Answer:
        return _reported(liveness(self._services))

    def _ready(self) -> Answer:
        return _reported(readiness(self._services))

    def _read(self) -> Answer:
        return Answer(HTTPStatus.OK, render_prometheus(self._metrics).encode(), CONTENT_TYPE)


def _reported(report: HealthReport) -> Answer:
    return Answer(HTTPStatus.OK if report.ok else HTTPStatus.SERVICE_UNAVAILABLE, msgspec.json.encode(report))


def _told(status: HTTPStatus, detail: str = "") -> Answer:
    return Answer(status, msgspec.json.encode({"error": status.phrase, "detail": detail or status.description}))


def _written(answer: Answer, *, with_body: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "Connection: close",
        *([f"Allow: {answer.allow}"] if answer.allow else []),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (answer.body if with_body else b"")
