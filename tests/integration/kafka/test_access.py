"""Who may not come in, or not do this, is told so by name, and at once."""

from __future__ import annotations

import asyncio
import re

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
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
from tests.integration.kafka.cluster import OPTIONS, Member, locked, messages, outgoing, until_read

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
    for password, sasl, held in (("r", "plain", 3), ("s", "scram-sha-256", 6)):
        broker = at(gate[1], "root", password, sasl=sasl)
        await broker.open()
        await broker.publish(outgoing(messages(3), "for-root"))
        assert {state.name: state.messages for state in await broker.topics()}["for-root"] == held
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


def right(kind, name, operation):
    pattern = ResourcePatternType.LITERAL
    return AclBinding(kind, name, pattern, "User:alice", "*", operation, AclPermissionType.ALLOW)


async def done(answers):
    for answer in answers.values():
        await asyncio.wrap_future(answer)


async def test_whose_right_to_read_is_taken_away_while_it_reads_is_told(gate):
    admin = AdminClient({"bootstrap.servers": gate[0].address})
    topic = right(ResourceType.TOPIC, "for-a-while", AclOperation.READ)
    groups = [right(ResourceType.GROUP, name, AclOperation.READ) for name in ("readers", "readers.antiphon-seeks")]
    await done(admin.create_acls([topic, *groups]))
    root = at(gate[1], "root", "r")
    await root.open()
    sent = messages(20)
    await root.publish(outgoing(sent[:10], "for-a-while"))
    broker = at(gate[1], "alice", "a")
    await broker.open()
    member = Member(await broker.subscribe("readers", ["for-a-while"]))
    await until_read(member.read, sent[:10])
    binding = (ResourceType.TOPIC, "for-a-while", ResourcePatternType.LITERAL, "User:alice")
    await done(admin.delete_acls([AclBindingFilter(*binding, "*", AclOperation.READ, AclPermissionType.ALLOW)]))
    await root.publish(outgoing(sent[10:], "for-a-while"))
    error = await member.failure()
    assert isinstance(error, AccessDeniedError)
    # The cluster takes a right away in its own time: the last messages may be read, and not be settled.
    assert re.search(r"does not let us (read|commit) for group 'readers'", str(error))
    assert "mend the user's name, its password or its rights" in str(error)
    await member.stop()
    await broker.close()
    await root.close()


async def test_who_may_look_but_not_write_is_told_for_each_message(gate):
    admin = AdminClient({"bootstrap.servers": gate[0].address})
    await done(admin.create_acls([right(ResourceType.TOPIC, "for-alice", AclOperation.DESCRIBE)]))
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
