"""Which store and which options does a URL of the broker mean?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from antiphon.brokers import connect
from antiphon.brokers.postgres import PostgresBroker
from antiphon.errors import SettingsError
from antiphon.storage.connect import connect_store


def broker_at(url: str) -> PostgresBroker:
    broker = connect(url)
    assert isinstance(broker, PostgresBroker)
    return broker


@pytest.mark.parametrize(
    "rest",
    [
        "shop@db.example/shop",
        "shop:p%40ss%2F@db.example:6432/shop?schema=orders&sslmode=require&sslrootcert=/etc/ca.pem&connections=4",
        "/shop?host=/var/run/postgresql",
    ],
)
def test_a_service_that_names_the_same_url_means_the_same_database(rest: str) -> None:
    url = f"postgresql://{rest}"
    assert broker_at(url).database.url == connect_store(url).url


def test_the_brokers_own_options_are_not_the_stores() -> None:
    broker = broker_at("postgresql://u:s%25cret@h/d?lease=30s&schema=x&max_message_bytes=5&grace=1s")
    assert broker.database.url == "postgresql://u:***@h/d?schema=x"
    assert broker.capabilities.max_message_bytes == 5
    assert broker._lease == timedelta(seconds=30)
    assert broker.database._address.parameters["password"] == "s%cret"


def test_no_secret_is_shown() -> None:
    broker = broker_at("postgresql://u:hunter2@h/d?sslpassword=hunter3")
    assert "hunter" not in broker.url
    assert broker.database._address.parameters["sslpassword"] == "hunter3"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("leese=3s", "has an option 'leese' that nobody knows; did you mean 'lease'"),
        ("max_bytes=3", "did you mean 'max_message_bytes'"),
        (
            "frobnicate=1",
            "ours are schema, isolation, connections, patience, max_message_bytes, lease, grace, and libpq",
        ),
        ("connections=1", "connections"),
        ("lease=fast", "lease"),
        ("lease=0s", "lease must be more than nothing"),
        ("shema=x", "schema"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(option: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        connect(f"postgresql://h/d?{option}")
