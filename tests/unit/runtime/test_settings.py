"""Settings come from arguments, environment and file, in that order; whatever is wrong is named."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from antiphon.brokers.ports import TopicSpec
from antiphon.errors import SettingsError
from antiphon.runtime import setting_values
from antiphon.runtime.settings import ServiceSettings, Settings, TopicSettings, combine

FILE = Path("/shop/antiphon.toml")


def settings(arguments=None, environment=None, document=None, file=FILE, folder="/shop/deep"):
    return combine(arguments or {}, environment or {}, document or {}, file, Path(folder))


def refusal(**given):
    with pytest.raises(SettingsError) as caught:
        settings(**given)
    return str(caught.value)


def test_without_settings_the_log_lies_beside_the_file():
    assert settings().broker == "embedded:////shop/.antiphon/log.db"


def test_without_a_file_the_log_lies_where_the_program_was_started():
    assert settings(file=None).broker == "embedded:////shop/deep/.antiphon/log.db"


def test_arguments_beat_the_environment_which_beats_the_file():
    document, environment = {"workers": 2, "health": 8001}, {"ANTIPHON_WORKERS": "3", "ANTIPHON_HEALTH": "8002"}
    assert settings(document=document).common.workers == 2
    assert settings(environment=environment, document=document).common.workers == 3
    both = settings({"workers": 4}, environment, document)
    assert (both.common.workers, both.health) == (4, 8002)


def test_a_services_own_settings_go_before_those_of_the_file():
    found = settings(document={"workers": 2, "services": {"payments": {"workers": 5, "group": "billing"}}})
    assert (found.of_service("payments").workers, found.of_service("payments").group) == (5, "billing")
    assert (found.of_service("orders").workers, found.of_service("orders").group) == (2, None)


def test_an_argument_goes_before_a_services_own_settings():
    document = {"services": {"payments": {"broker": "kafka://host"}}}
    assert settings({"broker": "memory:///"}, document=document).of_service("payments").broker == "memory:///"


def test_a_relative_log_is_relative_to_where_it_was_written_down():
    assert settings(document={"broker": "embedded:///data/log.db"}).broker == "embedded:////shop/data/log.db"
    assert settings({"broker": "embedded:///data/log.db"}).broker == "embedded:////shop/deep/data/log.db"
    assert settings({"broker": "embedded:////var/log.db?x=1"}).broker == "embedded:////var/log.db?x=1"


def test_topics_are_made_as_declared_and_with_defaults_otherwise():
    document = {"topics": {"orders": {"partitions": 4, "keep_for": "7d", "keep_bytes": "1GB"}}}
    found = settings(document=document)
    assert found.topic("orders") == TopicSpec("orders", 4, timedelta(days=7), 10**9)
    assert found.topic("payments") == TopicSpec("payments", 8)


def test_durations_and_sizes_carry_their_units():
    found = settings(document={"transaction_time": "5ms", "inflight_bytes": "2MiB", "drain_timeout": "1m30s"}).common
    assert (found.transaction_time, found.inflight_bytes) == (timedelta(milliseconds=5), 2 * 2**20)
    assert found.drain_timeout == timedelta(seconds=90)


def test_modules_come_as_a_list_or_separated_by_commas():
    assert settings(document={"modules": ["payments", "orders.service"]}).modules == ("payments", "orders.service")
    assert settings(environment={"ANTIPHON_MODULES": "payments, orders"}).modules == ("payments", "orders")


def test_variables_of_others_and_the_reserved_one_are_left_alone():
    assert settings(environment={"PATH": "/bin", "ANTIPHON_DATA": "/data"}).common.workers == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"document": {"brokr": "x"}}, "/shop/antiphon.toml: unknown setting 'brokr': did you mean 'broker'"),
        ({"document": {"topic": {}}}, "unknown setting 'topic': did you mean 'topics'"),
        ({"document": {"partitions": 3}}, "unknown setting 'partitions': 'partitions' belongs in [topics.NAME]"),
        ({"document": {"zzz": 3}}, "the settings here are broker, "),
        (
            {"document": {"topics": {"orders": {"partition": 3}}}},
            "unknown setting 'topics.orders.partition': did you mean 'partitions'",
        ),
        (
            {"document": {"services": {"pay": {"health": 1}}}},
            "unknown setting 'services.pay.health': 'health' belongs at the top",
        ),
        (
            {"environment": {"ANTIPHON_BROKR": "x"}},
            "environment: unknown setting ANTIPHON_BROKR: did you mean 'ANTIPHON_BROKER'",
        ),
        ({"arguments": {"wrokers": 1}}, "argument: unknown setting 'wrokers': did you mean 'workers'"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_right_one(given, told):
    assert told in refusal(**given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"document": {"workers": "many"}}, "antiphon.toml: workers = 'many': it must be a whole number of at least 1"),
        ({"document": {"workers": True}}, "it must be a whole number"),
        ({"document": {"workers": 1.5}}, "it must be a whole number"),
        ({"environment": {"ANTIPHON_WORKERS": "0"}}, "environment: ANTIPHON_WORKERS=0: it must be a whole number"),
        ({"arguments": {"health": 70_000}}, "argument: health = 70000: it must be a port from 1 to 65535"),
        ({"document": {"drain_timeout": 30}}, "drain_timeout = 30: it must be a duration with its unit"),
        ({"document": {"drain_timeout": "30 parsecs"}}, "as in 500ms, 30s or 1h30m"),
        ({"document": {"drain_timeout": "-5s"}}, "as in 500ms, 30s or 1h30m"),
        ({"document": {"inflight_bytes": "64 XB"}}, "as in 64MB or 1GiB"),
        ({"document": {"broker": "kafka"}}, "it must be a URL"),
        ({"document": {"broker": ""}}, "it must be a text that is not empty"),
        ({"document": {"modules": 3}}, "it must be a list of names"),
        ({"document": {"modules": [3]}}, "it must be a text"),
        ({"document": {"topics": 3}}, "topics = 3: write a table for each, as in [topics.orders]"),
        ({"document": {"topics": {"orders": 3}}}, "topics.orders = 3: write a table for each"),
        ({"document": {"topics": {"orders": {"keep_for": "x"}}}}, "topics.orders.keep_for = 'x': a duration is"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_where_it_was_set(given, told):
    assert told in refusal(**given)


def test_a_refused_url_does_not_print_its_password():
    told = refusal(environment={"ANTIPHON_BROKER": "kafka:me:secret@host"})
    assert "secret" not in told
    assert "ANTIPHON_BROKER" in told


def test_every_setting_has_a_field_and_every_field_a_setting():
    fields = {field.name for field in msgspec.structs.fields(ServiceSettings)}
    assert set(setting_values.SERVICE) == fields
    assert set(setting_values.TOPIC) == {field.name for field in msgspec.structs.fields(TopicSettings)}
    assert set(setting_values.TOP) - fields <= {field.name for field in msgspec.structs.fields(Settings)}
