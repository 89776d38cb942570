"""Behind the security of managed services: who is right comes in, who is not is told what is wrong, and what to do."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from urllib.parse import quote

import pytest
from msgspec import structs

from antiphon.brokers.connect import connect
from antiphon.brokers.kafka import Access, KafkaBroker
from antiphon.errors import AccessDeniedError, BrokerError, ConnectionLostError, SettingsError
from tests.integration.kafka.cluster import OPTIONS, Member, messages, outgoing, publish_all, until_read
from tests.integration.kafka.gates import gates, token
from tests.integration.tls.authority import HAS_OPENSSL

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not HAS_OPENSSL, reason="there is no openssl to sign certificates with"),
]
ACCOUNTS = {"confluent-cloud": ("key", "secret"), "event-hubs": ("$ConnectionString", "Endpoint")}
by_profile = pytest.mark.parametrize("profile", list(ACCOUNTS))
LONG, BRIEF = timedelta(minutes=5), timedelta(seconds=3)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = gates(tmp_path_factory.mktemp("authority"))
    with made.server:
        yield made


def broker_at(cluster, gate, access, **options):
    options = {"tls": True, "tls_ca": str(cluster.authority.file)} | options
    return KafkaBroker(getattr(cluster, gate), structs.replace(OPTIONS, **options), access)


def access_to(profile, password=None):
    user, right = ACCOUNTS[profile]
    return Access(user=user, password=password or right)


async def refused(broker, seconds=6):
    """What is told to whoever opens it, in time."""
    with pytest.raises(BrokerError) as raised:
        async with asyncio.timeout(seconds):
            await broker.open()
    return raised.value


async def comes_and_goes(broker, topic):
    """Whether what is published there is read by a group."""
    await broker.open()
    sent = messages(20)
    await publish_all(broker, sent, topic)
    member = Member(await broker.subscribe(f"readers-of-{topic}", [topic]))
    await until_read(member.read, sent)
    assert member.errors == []
    await member.stop()
    await broker.close()


async def first_error_of_publishing(broker, topic):
    """What is told once the last connection that was let in has ended."""
    async with asyncio.timeout(40):
        while True:
            try:
                await broker.publish(outgoing(messages(1), topic))
            except BrokerError as error:
                return error
            await asyncio.sleep(0.5)


@by_profile
async def test_a_url_with_a_profile_is_enough_to_publish_and_read(cluster, profile):
    user, password = (quote(part, safe="") for part in ACCOUNTS[profile])
    url = f"kafka://{user}:{password}@{cluster.passwords}?profile={profile}&tls_ca={cluster.authority.file}&lease=6s"
    await comes_and_goes(connect(url), profile)


@by_profile
async def test_a_wrong_password_is_told_at_once_and_never_shown(cluster, profile):
    error = await refused(broker_at(cluster, "passwords", access_to(profile, "guessed"), profile=profile))
    assert isinstance(error, AccessDeniedError)
    assert f"kafka://{cluster.passwords} does not let us connect" in str(error)
    assert "Invalid username or password" in str(error)
    assert "mend the user's name, its password" in str(error)
    assert "guessed" not in str(error)


@by_profile
async def test_a_certificate_that_has_ended_is_told_as_that(cluster, profile):
    error = await refused(broker_at(cluster, "ended", access_to(profile), profile=profile))
    assert not error.retryable
    assert f"kafka://{cluster.ended}" in str(error)
    assert "certificate has expired: renew it there" in str(error)


async def test_a_certificate_of_another_host_is_told_as_that(cluster):
    port = cluster.passwords.rpartition(":")[2]
    options = structs.replace(OPTIONS, profile="event-hubs", tls_ca=str(cluster.authority.file))
    error = await refused(KafkaBroker(f"localhost:{port}", options, access_to("event-hubs")))
    assert not error.retryable
    assert "Hostname mismatch" in str(error)


@by_profile
async def test_an_authority_that_we_do_not_know_is_told_with_the_option_that_names_it(cluster, profile):
    error = await refused(broker_at(cluster, "passwords", access_to(profile), profile=profile, tls_ca=None))
    assert not error.retryable
    assert "unable to get local issuer certificate" in str(error)
    assert "tls_ca" in str(error)


@by_profile
async def test_a_gate_that_wants_tokens_tells_so_to_who_has_a_password(cluster, profile):
    error = await refused(broker_at(cluster, "tokens", access_to(profile), profile=profile))
    assert not error.retryable
    assert "supported mechanisms: OAUTHBEARER" in str(error)


@by_profile
def test_a_profile_without_user_and_token_is_refused_before_anything_is_sent(profile):
    with pytest.raises(SettingsError, match="needs a user and a password"):
        KafkaBroker("127.0.0.1:1", structs.replace(OPTIONS, profile=profile))


@by_profile
async def test_a_profile_may_be_entered_with_tokens(cluster, profile):
    broker = broker_at(cluster, "tokens", Access(token=lambda _: token(LONG)), profile=profile)
    await comes_and_goes(broker, f"{profile}-by-token")


async def test_a_token_that_has_ended_is_told(cluster):
    # The driver refuses one that it knows to have ended, the server one that it does not.
    known = await refused(broker_at(cluster, "tokens", Access(token=lambda _: token(-LONG))), 20)
    assert "gave one that ended 300 s ago" in str(known)
    claimed = token(LONG)[1]
    unknown = await refused(broker_at(cluster, "tokens", Access(token=lambda _: (token(-LONG)[0], claimed))), 20)
    assert "invalid_token" in str(unknown)
    assert isinstance(known, AccessDeniedError)
    assert isinstance(unknown, AccessDeniedError)


async def test_a_function_that_makes_no_token_is_quoted(cluster):
    def make(_):
        raise RuntimeError("the vault is locked")

    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.1)
            ticks += 1

    ticking = asyncio.create_task(tick())
    error = await refused(broker_at(cluster, "tokens", Access(token=make)), 20)
    ticking.cancel()
    assert "the function that makes tokens raised RuntimeError('the vault is locked')" in str(error)
    assert ticks > 30, "everything else stood still meanwhile"


async def test_a_service_whose_token_ends_goes_on_by_itself_once_there_is_a_fresh_one(cluster):
    is_locked = False

    def make(_):
        if is_locked:
            raise RuntimeError("the vault is locked")
        return token(BRIEF)

    access = Access(token=make)
    broker = broker_at(cluster, "tokens", access, profile="confluent-cloud", patience=timedelta(seconds=4))
    await broker.open()
    member = Member(await broker.subscribe("payments", ["tokens"]))
    sent = messages(100)
    await publish_all(broker, sent[:50], "tokens")
    await until_read(member.read, sent[:50])
    assert member.errors == []
    is_locked = True
    async with asyncio.timeout(40):
        while not member.errors:
            await asyncio.sleep(0.1)
    assert "does not take our token, or there is none" in str(member.errors[0])
    error = await first_error_of_publishing(broker, "tokens")
    assert error.retryable or all(refusal.retryable for refusal in error.refusals)
    is_locked = False
    await publish_all(broker, sent[50:], "tokens")
    await until_read(member.read, sent)
    assert all(isinstance(error, ConnectionLostError) for error in member.errors)
    await member.stop()
    await broker.close()


async def test_a_certificate_of_ours_lets_us_in_until_it_ends(cluster):
    for name, ended in (("ours", False), ("former", True)):
        mine = cluster.authority.sign(name, ended=ended)
        files = {"tls_certificate": str(mine.itself), "tls_key": str(mine.key)}
        broker = broker_at(cluster, "certificates", Access(), **files)
        if not ended:
            await comes_and_goes(broker, "by-certificate")
            continue
        error = await refused(broker, 20)
        assert "does not believe our certificate" in str(error)
        assert "renew tls_certificate" in str(error)
        assert not error.retryable


@pytest.mark.parametrize(
    ("gate", "tls", "hint"),
    [("passwords", False, "say tls=true"), ("plain", True, "look at the port and at tls")],
)
async def test_a_port_that_speaks_otherwise_is_told(cluster, gate, tls, hint):
    address = cluster.server.address if gate == "plain" else cluster.passwords
    options = structs.replace(OPTIONS, tls=tls)
    error = await refused(KafkaBroker(address, options, access_to("confluent-cloud")), 20)
    assert hint in str(error)
