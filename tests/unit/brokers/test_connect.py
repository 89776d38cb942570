"""connect: a URL means exactly one broker, and a wrong one is answered with what is right."""

import subprocess
import sys
from datetime import timedelta

import pytest

from antiphon.brokers.connect import ADAPTERS, Adapter, connect
from antiphon.brokers.embedded import EmbeddedBroker
from antiphon.brokers.memory import MemoryBroker
from antiphon.errors import SettingsError


@pytest.mark.parametrize(("url", "model"), [("memory:///", "log"), ("memory:///?model=queue", "queue")])
def test_memory_comes_as_a_log_and_as_a_queue(url: str, model: str) -> None:
    broker = connect(url)
    assert isinstance(broker, MemoryBroker)
    assert (broker.url, broker.capabilities.model) == (url, model)


def test_options_arrive_as_their_types() -> None:
    assert connect("memory:///?max_message_bytes=1000").capabilities.max_message_bytes == 1000


def test_the_path_of_a_file_is_relative_unless_it_has_a_slash_of_its_own() -> None:
    relative, absolute = connect("embedded:///data/my%20log.db"), connect("embedded:////data/log.db")
    assert isinstance(relative, EmbeddedBroker)
    assert isinstance(absolute, EmbeddedBroker)
    assert relative.database.path.endswith("/data/my log.db")
    assert relative.database.path != "/data/my log.db"
    assert absolute.database.path == "/data/log.db"


def test_each_call_makes_a_broker_of_its_own() -> None:
    assert connect("memory:///") is not connect("memory:///")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("membory:///", "did you mean 'memory'?"),
        ("carrier-pigeon:///", "there are embedded://, kafka://"),
        ("rediss://host", "write redis://...?tls=true"),
        ("amqps://host", "write rabbitmq://...?tls=true"),
        ("memory:///?modle=queue", "no option 'modle'; did you mean 'model'?"),
        ("rabbitmq://host?lease=5s", "no option 'lease'; it has prefix, hold, grace, prefetch"),
        ("memory:///?model=qeue", "it is one of log, queue; did you mean 'queue'?"),
        ("memory:///?hold=5x", "as in 500ms, 30s or 1h30m"),
        ("memory:///?hold=0s", "give a time above zero"),
        ("memory:///?max_message_bytes=ten", "option 'max_message_bytes'"),
        ("memory:///?model=log&model=queue", "gives an option twice"),
        ("memory:///?model", "no broker URL"),
        ("memory:///#here", "write %23"),
        ("memory://host/", "holds everything in this process"),
        ("embedded://data/log.db", "embedded:///data/log.db"),
        ("log.db", "such as embedded:///log.db for a file"),
        ("", "no broker URL"),
        ("memory://host:port/", "no broker URL"),
    ],
)
def test_a_wrong_url_is_answered_with_what_is_right(url: str, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        connect(url)
    assert said in str(raised.value)


@pytest.mark.parametrize("limit", ["0", "-1"])
@pytest.mark.parametrize(
    "server",
    [
        "embedded:///log.db",
        "memory:///",
        "kafka://h",
        "postgresql://h/d",
        "rabbitmq://h",
        "rabbitmq-streams://h",
        "redis://h",
    ],
)
def test_a_limit_that_lets_nothing_through_is_refused_on_every_broker(server: str, limit: str) -> None:
    with pytest.raises(SettingsError, match=f"option 'max_message_bytes' of {server}.* `int` >= 1"):
        connect(f"{server}?max_message_bytes={limit}")


@pytest.mark.parametrize("url", ["pigeon://me:s3cret@loft/", "pigeon:///?api_token=s3cret&x=1", "p://m:s3cret@l:x/"])
def test_secrets_are_never_shown(url: str) -> None:
    with pytest.raises(SettingsError) as raised:
        connect(url)
    assert "s3cret" not in str(raised.value)
    assert "***" in str(raised.value)


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTERS, "pigeon", Adapter("pigeon_post.client:from_address", extra="pigeon"))
    with pytest.raises(SettingsError, match=r"pip install 'antiphon\[pigeon\]'"):
        connect("pigeon://loft/")


@pytest.mark.parametrize(
    ("text", "duration"),
    [("500ms", timedelta(milliseconds=500)), ("1.5s", timedelta(seconds=1.5)), ("1h30m", timedelta(minutes=90))],
)
def test_durations_are_written_with_their_unit(text: str, duration: timedelta) -> None:
    broker = connect(f"embedded:///log.db?lease={text}")
    assert isinstance(broker, EmbeddedBroker)
    assert broker._lease == duration


def test_no_adapter_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, antiphon.brokers; print([m for m in sys.modules if m.endswith(('memory', 'embedded', 'sqlite3'))])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
