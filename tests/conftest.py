"""What tests share: one real PostgreSQL for the whole run, and what lets them run in several processes."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from antiphon.events.ids import new_id
from antiphon.testing.servers import shared_server


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of the server, which ends when the last process of the run has."""
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):  # one of several processes, each with a folder inside the run's own
        folder = folder.parent
    with shared_server("postgres", Path(folder, "postgres")) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The URL of a store that nobody else uses; its schema is made by the first migration."""
    return f"{postgres_server}?schema=test_{new_id().replace('-', '')}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # Some tests log what no UTF-8 can hold, and the pipe between the processes takes nothing else.
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
