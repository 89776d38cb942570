"""The suite of stores can fail: every saboteur turns it red, by the promise that it breaks; no honest store does."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from antiphon.events.ids import new_id
from antiphon.storage.database import Database
from antiphon.storage.postgres import PostgresDatabase
from antiphon.storage.sqlite import SqliteDatabase
from antiphon.testing import store_sabotage as sabotage
from antiphon.testing.conformance import StoreConformance
from antiphon.testing.conformance.verdicts import broken_promises, promises
from antiphon.testing.store_sabotage import STORE_SABOTEURS, StoreSaboteur

Spoil = Callable[[Database], Database]
TELLING = {
    sabotage.LosingCommits: "test_what_was_committed_is_read_outside",
    sabotage.KeepingRollbacks: "test_what_was_rolled_back_is_gone",
    sabotage.KeepingParts: "test_an_undone_part_leaves_the_rest",
    sabotage.UndoingTooMuch: "test_an_undone_part_leaves_the_rest",
    sabotage.SwallowingFailures: "test_a_failure_is_told_by_the_commit_at_the_latest",
    sabotage.CallingEarly: "test_callbacks_run_in_order_once_it_is_committed",
    sabotage.LosingRows: "test_many_statements_are_one_transaction",
    sabotage.ManglingText: "test_values_come_back_as_they_went",
    sabotage.LettingReadersWrite: "test_reading_cannot_write",
    sabotage.ForgettingMigrations: "test_each_is_applied_once",
    sabotage.IgnoringNewerTables: "test_tables_of_a_newer_version_are_refused",
    sabotage.PlanningNothing: "test_what_is_missing_is_told_and_not_applied",
    sabotage.StayingOpen: "test_a_closed_database_says_so",
    sabotage.SkippingTurns: "test_what_goes_behind_a_message_that_is_just_finished_is_not_forgotten",
}
ALIKE_IN_A_FILE = {sabotage.SkippingTurns}
"""A file has one writer at a time."""


class FileJudge(StoreConformance):
    path: Path

    def beside(self, database: Database) -> Database:
        return SqliteDatabase(self.path)


class ServerJudge(StoreConformance):
    bytes_type = "bytea"
    url: str
    spoil: Spoil

    def beside(self, database: Database) -> Database:
        return self.spoil(PostgresDatabase(self.url))


@asynccontextmanager
async def in_a_file(judge: FileJudge, spoil: Spoil, folder: Path) -> AsyncIterator[Database]:
    judge.path = folder / f"{new_id()}.db"
    file = SqliteDatabase(judge.path)
    await file.open()
    try:
        yield spoil(file)
    finally:
        await file.close()


@asynccontextmanager
async def on_a_server(judge: ServerJudge, spoil: Spoil, url: str) -> AsyncIterator[Database]:
    judge.url, judge.spoil = url, spoil
    server = PostgresDatabase(url)
    await server.open()
    try:
        yield spoil(server)
    finally:
        await server.close()


async def test_an_honest_store_breaks_no_promise(tmp_path: Path) -> None:
    assert await broken_promises(FileJudge, partial(in_a_file, spoil=StoreSaboteur, folder=tmp_path)) == {}


async def test_an_honest_server_is_not_blamed_for_its_turns(postgres_url: str) -> None:
    telling = TELLING[sabotage.SkippingTurns]
    honest = partial(on_a_server, spoil=StoreSaboteur, url=postgres_url)
    assert await broken_promises(ServerJudge, honest, only=[telling]) == {}


@pytest.mark.parametrize("saboteur", [each for each in STORE_SABOTEURS if each not in ALIKE_IN_A_FILE])
async def test_a_sabotaged_file_turns_the_suite_red(saboteur: type[StoreSaboteur], tmp_path: Path) -> None:
    telling = TELLING[saboteur]
    spoiled = partial(in_a_file, spoil=saboteur, folder=tmp_path)
    assert telling in await broken_promises(FileJudge, spoiled, only=[telling])


@pytest.mark.parametrize("saboteur", STORE_SABOTEURS)
async def test_a_sabotaged_server_turns_the_suite_red(saboteur: type[StoreSaboteur], postgres_url: str) -> None:
    telling = TELLING[saboteur]
    spoiled = partial(on_a_server, spoil=saboteur, url=postgres_url)
    assert telling in await broken_promises(ServerJudge, spoiled, only=[telling])


def test_the_suite_has_a_name_for_every_saboteur() -> None:
    assert set(TELLING) == set(STORE_SABOTEURS)
    assert set(TELLING.values()) <= set(promises(StoreConformance))
