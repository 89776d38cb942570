"""Which store a command works on follows from what was given and set, and it is never guessed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from antiphon.brokers.connect import ADAPTERS, Adapter, Address
from antiphon.brokers.ports import Broker
from antiphon.cli.session import opened_with_store, settings_for_store
from antiphon.errors import UnsupportedCapabilityError, UsageError


def far(address: Address) -> Broker:
    """A broker without a database."""
    return cast("Broker", SimpleNamespace(url=address.url))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configure(folder: Path, text: str) -> None:
    (folder / "antiphon.toml").write_text(text)


def stores(**by_service: str) -> str:
    return "".join(f'[services.{name}]\nstore = "sqlite:///{file}"\n' for name, file in by_service.items())


def chosen(store: str | None = None, group: str | None = None) -> str | None:
    return settings_for_store(None, store, group).common.store


def test_nothing_said_is_the_brokers_own(folder: Path) -> None:
    assert chosen() is None


def test_what_is_given_counts_before_what_is_set(folder: Path) -> None:
    configure(folder, 'store = "sqlite:///top.db"\n')
    assert chosen() == f"sqlite:///{folder}/top.db"
    configure(folder, 'store = "sqlite:///top.db"\n' + stores(mail="mail.db"))
    assert chosen("sqlite:///given.db") == f"sqlite:///{folder}/given.db"


def test_what_all_services_share_is_taken_and_several_are_not_guessed_at(folder: Path) -> None:
    configure(folder, stores(mail="one.db", payments="one.db"))
    assert chosen() == f"sqlite:///{folder}/one.db"
    configure(folder, stores(mail="one.db", payments="two.db"))
    told = f"mail in sqlite:///{folder}/one.db, payments in sqlite:///{folder}/two.db: say which one with --store"
    with pytest.raises(UsageError, match=told):
        chosen()


def test_the_log_named_as_a_store_is_the_brokers_own(folder: Path) -> None:
    configure(folder, stores(mail=".antiphon/log.db") + '[services.payments]\ngroup = "till"\n')
    assert chosen() == f"sqlite:///{folder}/.antiphon/log.db"


def test_a_group_has_the_store_of_its_service(folder: Path) -> None:
    configure(folder, 'store = "sqlite:///top.db"\n' + stores(mail="mail.db") + 'group = "post"\n')
    assert chosen(group="post") == f"sqlite:///{folder}/mail.db"
    assert chosen(group="mail") == chosen(group="stock") == f"sqlite:///{folder}/top.db"
    with pytest.raises(UsageError, match=r"several stores, mail in .*/mail.db, others in .*/top.db: say"):
        chosen(group="@outbox")


async def test_without_any_database_a_store_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast("dict[str, Adapter]", ADAPTERS), "far", Adapter(f"{__name__}:far"))
    with pytest.raises(UnsupportedCapabilityError, match="far://away has no database of its own: say with --store URL"):
        async with opened_with_store(settings_for_store("far://away", None)):
            pass
