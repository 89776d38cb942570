"""Probes answer over HTTP, whatever they are sent and even while a handler blocks the event loop."""

import asyncio
import json
import threading
import time
from datetime import timedelta
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from antiphon.errors import SettingsError
from antiphon.observability.metrics import Metrics
from antiphon.runtime.health import ServiceHealth
from antiphon.runtime.probes import MOST_BYTES, MOST_CONNECTIONS, Probes


@pytest.fixture
async def health():
    found = ServiceHealth("payments", timedelta(milliseconds=300))
    found.state = "running"
    return found


@pytest.fixture
async def probes(health):
    probes = Probes([health], [Metrics(service="payments")], 0, host="127.0.0.1")
    await probes.start()
    yield probes
    await probes.stop()


async def send(probes, raw):
    reader, writer = await asyncio.open_connection("127.0.0.1", probes.port)
    writer.write(raw)
    if raw and not raw.endswith(b"\r\n\r\n"):
        writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_a_ready_service_answers_200_with_its_parts(probes):
    head, body = (await send(probes, b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")).split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert {part["part"] for part in json.loads(body)["parts"]} == {
        "event loop",
        "fetching",
        "committing",
        "publishing",
        "settling",
    }


async def test_a_stalled_fetch_answers_503_and_says_so(probes, health):
    health.fetching.begin()
    await asyncio.sleep(0.4)
    answer = await send(probes, b"GET /ready HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable")
    assert b"payments: fetching has not got on" in answer


async def test_it_answers_while_something_blocks_the_event_loop(probes):
    seen = []

    def ask():
        time.sleep(0.5)
        try:
            urlopen(f"http://127.0.0.1:{probes.port}/live", timeout=2)
        except HTTPError as error:
            seen.append((error.code, error.read()))

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(1.0)  # noqa: ASYNC251 - this is the handler that blocks the loop
    await asyncio.to_thread(asking.join)
    ((status, body),) = seen
    assert status == 503
    assert b"payments: event loop has not got on" in body


async def test_head_has_the_headers_and_no_body(probes):
    head, body = (await send(probes, b"HEAD /live HTTP/1.1\r\n\r\n")).split(b"\r\n\r\n")
    assert b"Content-Length: " in head
    assert body == b""


@pytest.mark.parametrize(
    ("raw", "begins"),
    [
        (b"\r\n\r\n", b"HTTP/1.1 400 "),
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 "),
        (b"\xff\xfe /live HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 "),
        (b"GET /live HTTP/9\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /" + b"x" * MOST_BYTES * 2 + b" HTTP/1.1\r\n\r\n", b"HTTP/1.1 431 "),
        (b"GET /live HTT", b""),
    ],
)
async def test_a_bad_request_is_answered_and_the_next_one_is_served(probes, raw, begins):
    answer = await send(probes, raw)
    assert answer.startswith(begins)
    assert (answer == b"") == (begins == b"")
    assert (await send(probes, b"GET /live HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_more_connections_than_it_holds_are_closed_and_then_it_serves_again(probes):
    idle = [await asyncio.open_connection("127.0.0.1", probes.port) for _ in range(MOST_CONNECTIONS)]
    await asyncio.sleep(0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", probes.port)
    assert await asyncio.wait_for(reader.read(), 2) == b""
    for _, open_writer in [*idle, (reader, writer)]:
        open_writer.close()
    await asyncio.sleep(0.1)
    assert (await send(probes, b"GET /live HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_taken_port_is_named(probes, health):
    second = Probes([health], [], probes.port, host="127.0.0.1")
    with pytest.raises(SettingsError, match=f"port {probes.port} cannot be opened"):
        await second.start()
    await second.stop()


async def test_after_a_stop_nobody_listens_and_stopping_again_is_safe(health):
    probes = Probes([health], [], 0, host="127.0.0.1")
    await probes.start()
    await probes.stop()
    await probes.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", probes.port)
