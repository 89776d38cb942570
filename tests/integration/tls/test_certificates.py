"""Certificates that are renewed, and such of our own."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from antiphon.brokers import connect
from antiphon.brokers.redis import RedisBroker
from antiphon.errors import BrokerError, ConnectionLostError
from antiphon.testing.servers import RedisServer, free_port
from tests.integration.redis.servers import numbered
from tests.integration.tls.authority import HAS_OPENSSL, Authority, Certificate

pytestmark = pytest.mark.skipif(not HAS_OPENSSL, reason="there is no openssl to sign certificates with")


class Guarded:
    """A Redis whose TLS may be changed while it runs."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.port = free_port()
        good = self.authority.sign("good")
        files = ("--tls-cert-file", good.itself, "--tls-key-file", good.key, "--tls-ca-cert-file", self.authority.file)
        settings = ("--tls-port", self.port, *files, "--tls-auth-clients", "no")
        self.good, self.server = good, RedisServer(settings=tuple(map(str, settings)))

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}?timeout=1s&tls=true&tls_ca={self.authority.file}"

    async def set(self, *settings: str) -> None:
        admin = connect(self.server.url)
        assert isinstance(admin, RedisBroker)
        for command in (("CONFIG", "SET", *settings), ("CLIENT", "KILL", "TYPE", "normal")):
            await admin.native.execute_command(*command)  # type: ignore[no-untyped-call]  # the driver has no type
        await admin.native.aclose(close_connection_pool=True)

    async def show(self, certificate: Certificate) -> None:
        """Show this one from now on to whoever comes, and let all come again."""
        await self.set("tls-cert-file", str(certificate.itself), "tls-key-file", str(certificate.key))


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    with made.server:
        yield made


@pytest.fixture
async def broker(guarded: Guarded) -> AsyncIterator[RedisBroker]:
    opened = connect(guarded.url)
    assert isinstance(opened, RedisBroker)
    await opened.open()
    yield opened
    await opened.close()


async def test_who_runs_when_a_certificate_ends_is_told_so_and_goes_on_once_it_is_renewed(
    guarded: Guarded, broker: RedisBroker
) -> None:
    await broker.publish(numbered(1))
    await guarded.show(guarded.authority.sign("ended", ended=True))
    with pytest.raises(BrokerError, match="certificate has expired: renew it there") as raised:
        await connect(guarded.url).open()
    assert not raised.value.retryable
    with pytest.raises(ConnectionLostError, match="certificate has expired: renew it there"):
        await _publish_anew(broker)
    await guarded.show(guarded.good)
    await _publish_anew(broker)


async def test_a_server_that_wants_a_certificate_of_ours_lets_us_in_by_it_alone(guarded: Guarded) -> None:
    await guarded.set("tls-auth-clients", "yes")
    ours = guarded.authority.sign("ours")
    opened = connect(f"{guarded.url}&tls_certificate={ours.itself}&tls_key={ours.key}")
    await opened.open()
    await opened.publish(numbered(1))
    await opened.close()
    with pytest.raises(BrokerError, match=r"believe our certificate .* tls_certificate") as raised:
        await connect(guarded.url).open()
    assert not raised.value.retryable


async def test_who_speaks_tls_but_not_with_us_is_not_told_to_speak_none(guarded: Guarded) -> None:
    await guarded.set("tls-protocols", "TLSv1.2")
    await guarded.set("tls-auth-clients", "yes")
    with pytest.raises(BrokerError, match="want a certificate of ours: name it in tls_certificate") as raised:
        await connect(guarded.url).open()
    assert not raised.value.retryable
    await guarded.set("tls-protocols", "TLSv1.1")
    with pytest.raises(BrokerError, match=r"another TLS than we do .* version 1.2 or 1.3") as raised:
        await connect(guarded.url).open()
    assert "leave tls out" not in str(raised.value)


def test_a_broker_that_is_closed_waits_for_no_farewell_of_a_server_that_is_silent(guarded: Guarded) -> None:
    async def come_and_go() -> None:
        broker = connect(guarded.url)
        await broker.open()
        await broker.publish(numbered(1))
        guarded.server.pause()
        async with asyncio.timeout(2):
            await broker.close()

    asyncio.run(come_and_go())
    gc.collect()  # which would find a connection that is still open
    guarded.server.go_on()


async def _publish_anew(broker: RedisBroker) -> None:
    """Publish over a connection that was made since: the first that is tried may be one that was cut."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await broker.publish(numbered(1))
            except ConnectionLostError as error:
                if "agree on TLS" in str(error):
                    raise
