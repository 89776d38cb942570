"""Where TLS is asked for nothing is said without it, whatever the server says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.brokers.ports import SeekTo
from antiphon.errors import BrokerError, ConnectionLostError
from antiphon.testing.servers import NatsServer
from tests.integration.nats.tools import numbered, opened
from tests.integration.postgres.cutting import road_to
from tests.integration.tls.authority import HAS_OPENSSL, Authority
from tests.integration.tls.overhearing import OverheardRoad

LOGIN = "authorization { user: shop, password: secret }"


async def test_a_server_without_tls_hears_nothing_of_who_asked_for_it() -> None:
    with NatsServer(settings=(LOGIN,)) as server:
        async with road_to(server.port, OverheardRoad) as (road, port):
            with pytest.raises(BrokerError, match="does not ask for TLS") as raised:
                await opened(f"nats://shop:secret@127.0.0.1:{port}?tls=true")
            assert not isinstance(raised.value, ConnectionLostError), "another try cannot help"
            assert isinstance(road, OverheardRoad)
            assert road.heard == b""


@pytest.mark.skipif(not HAS_OPENSSL, reason="there is no openssl to sign certificates with")
async def test_what_is_said_over_tls_is_said_to_whom_the_authority_vouches_for(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    signed = authority.sign("server")
    tls = f'tls {{ cert_file: "{signed.itself}", key_file: "{signed.key}" }}'
    with NatsServer(settings=(LOGIN, tls)) as server:
        async with road_to(server.port, OverheardRoad) as (road, port):
            broker = await opened(f"nats://shop:secret@127.0.0.1:{port}?tls=true&tls_ca={authority.file}")
            await broker.publish(numbered(3))
            assert len(await broker.browse("orders", SeekTo.START, 10)) == 3
            await broker.close()
            assert isinstance(road, OverheardRoad)
            assert b"secret" not in road.heard
        for options in ("tls=true", "tls=false"):  # the server asks for it whatever we say
            with pytest.raises(BrokerError, match="name in tls_ca the file of who signed it") as raised:
                await opened(f"nats://shop:secret@127.0.0.1:{server.port}?{options}")
            assert not isinstance(raised.value, ConnectionLostError), "another try cannot help"
            assert "secret" not in str(raised.value)
