"""Who may not come in, or not do this, is told so by name, and at once."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from msgspec import structs

from antiphon.brokers.kafka import Access, KafkaBroker
from antiphon.errors import AccessDeniedError, PublishError
from tests.integration.kafka.cluster import OPTIONS, locked, messages, outgoing

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def gate():
    server, address = locked()
    with server:
        yield server, address


def at(address, user, password, **options):
    return KafkaBroker(address, structs.replace(OPTIONS, **options), Access(user=user, password=password))


async def test_a_wrong_password_is_told_at_once(gate):
    with pytest.raises(AccessDeniedError, match="does not let us connect"):
        async with asyncio.timeout(5):
            await at(gate[1], "root", "wrong").open()


async def test_plain_and_scram_let_in_who_has_the_password(gate):
    admin = AdminClient({"bootstrap.servers": gate[0].address})
    change = UserScramCredentialUpsertion("root", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), b"s")
    for answer in admin.alter_user_scram_credentials([change]).values():
        await asyncio.wrap_future(answer)
    for password, sasl in (("r", "plain"), ("s", "scram-sha-256")):
        broker = at(gate[1], "root", password, sasl=sasl)
        await broker.open()
        await broker.publish(outgoing(messages(3), "for-root"))
        await broker.close()


async def test_who_may_not_write_is_told_for_each_message(gate):
    broker = at(gate[1], "alice", "a")
    await broker.open()
    sent = messages(3)
    with pytest.raises(PublishError, match="let us use it") as raised:
        await broker.publish(outgoing(sent, "for-root"))
    assert [refusal.message_id for refusal in raised.value.refusals] == [one.id for one in sent]
    assert not any(refusal.retryable for refusal in raised.value.refusals)
    await broker.close()


async def test_who_may_look_but_not_write_is_told_for_each_message(gate):
    admin = AdminClient({"bootstrap.servers": gate[0].address})
    right = AclBinding(
        ResourceType.TOPIC, "for-alice", ResourcePatternType.LITERAL, "User:alice", "*", AclOperation.DESCRIBE,
        AclPermissionType.ALLOW,
    )  # fmt: skip
    for answer in admin.create_acls([right]).values():
        await asyncio.wrap_future(answer)
    root = at(gate[1], "root", "r")
    await root.open()
    await root.publish(outgoing(messages(1), "for-alice"))
    await root.close()
    broker = at(gate[1], "alice", "a")
    await broker.open()
    with pytest.raises(PublishError, match="right to write") as raised:
        await broker.publish(outgoing(messages(3), "for-alice"))
    assert len(raised.value.refusals) == 3
    with pytest.raises(AccessDeniedError, match="rights"):
        await broker.subscribe("payments", ["for-alice"])
    await broker.close()
