"""Where does the shop keep each service's tables, and what does it say of a place that is none?"""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.shop.processes import SERVICES
from examples.shop.stores import StoreChoiceError, check_choice, urls_of

FOLDER = Path("/shops/my shop%20")


def test_beside_the_log_no_service_has_a_store_of_its_own() -> None:
    assert urls_of("log", FOLDER) == {}


def test_on_sqlite_each_service_has_a_file_in_the_folder() -> None:
    urls = urls_of("sqlite", FOLDER)
    assert set(urls) == set(SERVICES)
    assert urls["orders"] == "sqlite:////shops/my%20shop%2520/orders.db"


def test_on_a_server_each_service_has_a_schema_and_few_connections() -> None:
    urls = urls_of("postgresql://me:se%40cret@db:5433/shops?sslmode=require", FOLDER)
    assert set(urls) == set(SERVICES)
    expected = "postgresql://me:se%40cret@db:5433/shops?connections=5&schema=shop_orders&sslmode=require"
    assert urls["orders"] == expected


def test_a_schema_that_was_named_begins_the_names_of_all() -> None:
    urls = urls_of("postgres://db/shops?schema=mine&connections=3", FOLDER)
    assert urls["payments"] == "postgres://db/shops?connections=3&schema=mine_payments"


def test_a_server_without_a_name_is_the_one_that_libpq_finds() -> None:
    assert urls_of("postgresql:///shops", FOLDER)["orders"] == "postgresql:///shops?connections=5&schema=shop_orders"


@pytest.mark.parametrize("choice", ["log", "sqlite", "postgres", "postgresql://db/shops", "postgres:///shops"])
def test_a_known_place_is_taken(choice: str) -> None:
    check_choice(choice)


@pytest.mark.parametrize("choice", ["", "mysql://me:secret@db/shops", "postgresql", "sqlite:///shop.db", "Postgres"])
def test_an_unknown_place_is_told_with_all_known_ones_and_without_its_password(choice: str) -> None:
    with pytest.raises(
        StoreChoiceError, match=r"Choose log .*sqlite .*postgres .*postgresql://user@host/database"
    ) as told:
        check_choice(choice)
    assert "secret" not in str(told.value)


def test_a_misspelled_place_brings_the_one_that_is_near() -> None:
    with pytest.raises(StoreChoiceError, match="there is no store 'postgress'; did you mean 'postgres'"):
        check_choice("postgress")
