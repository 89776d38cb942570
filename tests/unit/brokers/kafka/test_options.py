"""What a URL says is what the driver is told, and what cannot be is refused before anything is sent."""

from __future__ import annotations

from datetime import timedelta

import pytest

from antiphon.brokers.connect import connect
from antiphon.brokers.kafka.options import (
    Access,
    KafkaOptions,
    common,
    joining,
    publishing,
    topic_settings,
    with_profile,
)
from antiphon.errors import SettingsError


def conf(user=None, password=None, **options):
    return common("one:9092", KafkaOptions(**options), Access(user=user, password=password))


def test_several_servers_may_be_asked():
    assert conf(servers="two:9092,three:9093")["bootstrap.servers"] == "one:9092,two:9092,three:9093"


@pytest.mark.parametrize(
    ("given", "protocol", "mechanism"),
    [
        ({}, "plaintext", None),
        ({"tls": True}, "ssl", None),
        ({"user": "u", "password": "p"}, "sasl_plaintext", "PLAIN"),
        ({"user": "u", "password": "p", "tls": True, "sasl": "scram-sha-512"}, "sasl_ssl", "SCRAM-SHA-512"),
        (
            {"user": "u", "password": "p", "sasl": "oauthbearer", "token_url": "https://id/token"},
            "sasl_plaintext",
            "OAUTHBEARER",
        ),
    ],
)
def test_how_we_show_who_we_are(given, protocol, mechanism):
    told = conf(**given)
    assert (told["security.protocol"], told.get("sasl.mechanism")) == (protocol, mechanism)


@pytest.mark.parametrize(
    "given",
    [
        {"sasl": "plain"},
        {"sasl": "oauthbearer", "user": "u", "password": "p"},
        {"tls_ca": "/ca.pem"},
        {"user": "u"},
        {"lease": timedelta()},
        {"patience": timedelta()},
        {"lease": timedelta(seconds=10), "beat": timedelta(seconds=10)},
    ],
)
def test_what_does_not_fit_together_is_refused(given):
    with pytest.raises(SettingsError):
        conf(**given)


def test_a_token_may_come_from_a_function():
    def token(_):
        return "token", 0.0

    told = common("one:9092", KafkaOptions(), Access(token=token))
    assert told["sasl.mechanism"] == "OAUTHBEARER"
    assert told["oauth_cb"]("") == ("token", 0.0)


@pytest.mark.parametrize("profile", ["confluent-cloud", "event-hubs"])
def test_a_profile_takes_a_function_that_makes_tokens_in_place_of_a_password(profile):
    options = with_profile(KafkaOptions(profile=profile))
    told = common("cloud:9092", options, Access(token=lambda _: ("token", 0.0)))
    assert (told["security.protocol"], told["sasl.mechanism"]) == ("sasl_ssl", "OAUTHBEARER")
    with pytest.raises(SettingsError, match="needs a user and a password"):
        common("cloud:9092", options, Access())


def test_keys_are_placed_as_java_places_them_and_each_message_is_written_once():
    told = publishing({}, KafkaOptions())
    assert (told["partitioner"], told["enable.idempotence"], told["acks"]) == ("murmur2_random", True, "all")


def test_members_share_out_cooperatively_or_let_the_cluster():
    classic = joining({}, "payments", "till-1", KafkaOptions(lease=timedelta(seconds=9), beat=timedelta(seconds=1)))
    assert classic["partition.assignment.strategy"] == "cooperative-sticky"
    assert (classic["session.timeout.ms"], classic["heartbeat.interval.ms"], classic["client.id"]) == (
        9000, 1000, "till-1",
    )  # fmt: skip
    newer = joining({}, "payments", None, KafkaOptions(protocol="consumer"))
    assert newer["group.protocol"] == "consumer"
    assert not {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"} & newer.keys()


def test_topics_that_are_made_have_what_was_said_and_room_for_the_largest_message():
    assert topic_settings(KafkaOptions()) == {}
    assert topic_settings(KafkaOptions(topic_settings="min.insync.replicas=2,compression.type=zstd")) == {
        "min.insync.replicas": "2", "compression.type": "zstd",
    }  # fmt: skip
    assert topic_settings(KafkaOptions(max_message_bytes=2_000_000)) == {"max.message.bytes": "2048000"}
    with pytest.raises(SettingsError, match="write name=value"):
        topic_settings(KafkaOptions(topic_settings="acks"))


def test_the_profile_of_event_hubs_keeps_order_without_idempotence():
    options = with_profile(KafkaOptions(profile="event-hubs"))
    told = publishing(
        common("hub:9093", options, Access(user="$ConnectionString", password="Endpoint=sb://x")), options
    )
    assert (told["security.protocol"], told["sasl.username"]) == ("sasl_ssl", "$ConnectionString")
    assert (told["enable.idempotence"], told["max.in.flight"], told["compression.type"]) == (False, 1, "none")


def test_the_profile_of_confluent_cloud_asks_by_key_over_tls():
    options = with_profile(KafkaOptions(profile="confluent-cloud"))
    told = common("cloud:9092", options, Access(user="key", password="secret"))
    assert (told["security.protocol"], told["sasl.mechanism"], told["sasl.password"]) == ("sasl_ssl", "PLAIN", "secret")


def test_a_url_shows_no_secret():
    broker = connect("kafka://user:hidden@one:9093?tls=true&tls_certificate=c.pem&tls_key_password=hidden&lease=9s")
    assert "hidden" not in broker.url
    assert broker.capabilities.max_message_bytes == 1_000_000


@pytest.mark.parametrize("url", ["kafka:///orders", "kafka://one:9092/orders", "kafka://one?lesae=3s"])
def test_a_url_that_says_nothing_useful_is_refused(url):
    with pytest.raises(SettingsError):
        connect(url)
