"""What the URLs of NATS mean, and which are refused."""

from pathlib import Path

import pytest

from antiphon.brokers.connect import connect
from antiphon.brokers.nats import NatsBroker
from antiphon.errors import SettingsError


def test_a_url_needs_nothing_but_a_host_and_connects_to_nothing_yet() -> None:
    broker = connect("nats://broker.example")
    assert isinstance(broker, NatsBroker)
    assert (broker.url, broker.native) == ("nats://broker.example", None)
    assert broker.capabilities.dedup_id


def test_a_password_is_never_shown() -> None:
    assert "secret" not in connect("nats://shop:secret@broker.example/staging").url


def test_whoever_wants_a_message_twice_turns_deduplication_off() -> None:
    assert not connect("nats://broker.example?dedup=0s").capabilities.dedup_id


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nats://broker.example/a.b", "namespace 'a.b'"),
        ("nats://broker.example?replicas=9", "1 to 5 copies"),
        ("nats://broker.example?lease=0s", "lease must be more than nothing"),
        ("nats://broker.example?credentials=nowhere.creds", "cannot be read"),
        ("nats://broker.example?tls=nowhere.pem", "true or false"),
        ("nats://broker.example?replica=3", "did you mean 'replicas'"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_done(url: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        connect(url)


def test_credentials_are_a_file_of_the_account_or_a_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.brokers.nats.address.find_spec", lambda name: name)
    (tmp_path / "user.creds").write_text("-----BEGIN NATS USER JWT-----\n")
    (tmp_path / "user.nk").write_text("SUAB\n")
    for name in ("user.creds", "user.nk"):
        connect(f"nats://broker.example?credentials={tmp_path / name}")


def test_files_of_credentials_are_refused_where_nobody_can_sign_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.brokers.nats.address.find_spec", lambda name: None)
    file = tmp_path / "shop.creds"
    file.write_text("-----BEGIN NATS USER JWT-----", "utf-8")
    with pytest.raises(SettingsError, match="pip install nkeys"):
        connect(f"nats://broker.example?credentials={file}")
