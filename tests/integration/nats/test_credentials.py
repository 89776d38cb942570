"""Files of credentials let in while they hold, may be renewed beside a running broker, and are named where broken."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from antiphon.errors import AccessDeniedError, BrokerError, ConnectionLostError
from antiphon.testing.servers import NatsServer
from tests.integration.nats.tools import all_of, numbered, opened, persistently, read_until, until

pytestmark = pytest.mark.skipif(find_spec("nkeys") is None, reason="nkeys is not installed: pip install nkeys")


def shown(server: NatsServer, file: Path) -> str:
    return f"{server.url}?credentials={file}&timeout=3s"


async def test_who_is_let_in_until_a_moment_waits_after_that_and_goes_on_with_a_new_file(tmp_path: Path) -> None:
    from tests.integration.nats.operators import Operator

    operator, file = Operator(), tmp_path / "shop.creds"
    with NatsServer(settings=operator.settings) as server:
        broker = await opened(shown(server, operator.credentials(file, seconds=4)))
        subscription = await broker.subscribe("payments", ["orders"])
        sent = numbered(20)
        await broker.publish(sent[:10])
        await until(lambda: not broker._link.is_connected)
        with pytest.raises(ConnectionLostError, match="not connected for 3 s"):
            await broker.publish(numbered(1, topic="others"))
        with pytest.raises(AccessDeniedError, match="does not let us in"):
            await opened(shown(server, file))
        operator.credentials(file, seconds=60)
        await persistently(broker, sent[10:])
        await read_until(subscription, all_of(sent))
        await broker.close()


async def test_a_seed_lets_its_user_in_and_nobody_else(tmp_path: Path) -> None:
    from tests.integration.nats.operators import seed_and_name

    known, foreign = tmp_path / "known.nk", tmp_path / "foreign.nk"
    name = seed_and_name(known)
    seed_and_name(foreign)
    with NatsServer(settings=(f"accounts {{ A {{ jetstream: enabled, users: [ {{ nkey: {name} }} ] }} }}",)) as server:
        broker = await opened(shown(server, known))
        await broker.publish(numbered(1))
        await broker.close()
        with pytest.raises(AccessDeniedError, match="does not let us in"):
            await opened(shown(server, foreign))


async def test_a_file_that_holds_no_credentials_is_named_and_no_other_try_is_promised(tmp_path: Path) -> None:
    from tests.integration.nats.operators import Operator

    with NatsServer(settings=Operator().settings) as server:
        for text in ("-----BEGIN NATS USER JWT-----\nxx\n------END NATS USER JWT------\n", "SUnonsense"):
            file = tmp_path / "none.creds"
            file.write_text(text, "utf-8")
            with pytest.raises(BrokerError, match="cannot be shown the credentials") as raised:
                await opened(shown(server, file))
            assert not isinstance(raised.value, ConnectionLostError)
