"""The options about TLS: the same on each broker, and never taken for TLS where they are none."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from antiphon.brokers.connect import connect
from antiphon.brokers.tls import Tls, distrust
from antiphon.errors import SettingsError

each_broker = pytest.mark.parametrize("scheme", ["kafka", "nats", "rabbitmq", "rabbitmq-streams", "redis"])


@each_broker
@pytest.mark.parametrize("option", ["tls_ca", "tls_certificate", "tls_key", "tls_key_password"])
def test_an_option_for_tls_without_tls_is_refused_and_not_connected_in_the_clear(scheme: str, option: str) -> None:
    with pytest.raises(SettingsError, match="say tls=true") as raised:
        connect(f"{scheme}://host?{option}=hidden-secret")
    assert option != "tls_key_password" or "hidden-secret" not in str(raised.value)


@each_broker
@pytest.mark.parametrize("option", ["tls_key", "tls_key_password"])
def test_a_key_without_its_certificate_is_refused_and_not_left_out_in_silence(scheme: str, option: str) -> None:
    with pytest.raises(SettingsError, match="no tls_certificate") as raised:
        connect(f"{scheme}://host?tls=true&{option}=hidden-secret")
    assert option != "tls_key_password" or "hidden-secret" not in str(raised.value)


@each_broker
def test_a_file_where_yes_or_no_belongs_is_refused(scheme: str) -> None:
    with pytest.raises(SettingsError, match=r"option 'tls' of .* true or false"):
        connect(f"{scheme}://host?tls=/authority.pem")


@pytest.mark.parametrize("scheme", ["nats", "rabbitmq", "rabbitmq-streams", "redis"])
def test_a_file_that_is_not_there_is_told_before_anything_is_sent(scheme: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="files of tls_ca cannot be used"):
        connect(f"{scheme}://host?tls=true&tls_ca={tmp_path / 'nowhere.pem'}")
    (tmp_path / "empty.pem").touch()
    with pytest.raises(SettingsError, match="files of tls_ca, tls_certificate, tls_key cannot be used"):
        connect(f"{scheme}://host?tls=true&tls_ca={tmp_path}/empty.pem&tls_certificate=/no.crt&tls_key=/no.key")


def test_a_certificate_is_always_asked_for() -> None:
    context = Tls(tls=True).context("redis://host")
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert Tls().context("redis://host") is None


def test_an_end_in_the_middle_of_a_greeting_may_be_another_ones_fault() -> None:
    error = ConnectionError("the driver's own")
    error.__cause__ = ssl.SSLEOFError(8, "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred")
    assert distrust(error) is None
