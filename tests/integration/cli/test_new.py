"""A new service runs as it was made, and passes its own tests and the type checkers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli.test_bad_input import refused

ROOT = Path(__file__).parents[3]


@pytest.fixture
def made(antiphon):
    """The folder of a service made in an otherwise empty one."""
    for file in ("antiphon.toml", "payments/service.py", "payments/events.py", "payments/__init__.py"):
        (antiphon.folder / file).unlink()
    done = antiphon("new", "page-visits")
    assert done.returncode == 0, done.stderr
    return antiphon.folder / "page-visits"


def test_it_passes_its_own_tests(made):
    done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=made, capture_output=True, text=True, check=False)
    assert "3 passed" in done.stdout, done.stdout


def test_it_runs_and_announces_the_tenth_visit(made, antiphon):
    antiphon.folder = made
    antiphon.start("run")
    antiphon.wait_for("running page-visits")
    for visitor in range(10):
        assert antiphon("publish", "VisitRecorded", "page=/home", f"visitor={visitor}").returncode == 0
    tail = antiphon("tail", "milestones", "--from", "start", "--limit", "1")
    assert json.loads(tail.stdout)["data"] == {"page": "/home", "visits": 10}


@pytest.mark.parametrize("checker", [["mypy", "--strict"], ["ruff", "check"], ["ruff", "format", "--check"]])
def test_it_is_clean(made, checker):
    command = [sys.executable, "-m", *checker, "page_visits", "tests"]
    done = subprocess.run(command, cwd=made, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_it_is_not_written_over(made, antiphon):
    assert refused(antiphon("new", "page-visits"), 2, "is there already and not empty")


@pytest.mark.parametrize("name", ["json", "class", "antiphon", "tests", "Payments", "1st", "a b", "../up", ""])
def test_a_name_that_no_package_can_have_is_refused(ask, name):
    before = sorted(ask.folder.iterdir())
    assert refused(ask("new", name), 2, "is no name for a service")
    assert sorted(ask.folder.iterdir()) == before


def test_the_files_are_told_to_programs(antiphon):
    told = json.loads(antiphon("new", "visits", "--json").stdout)
    assert Path(told["folder"]) == antiphon.folder / "visits"
    assert {"visits/service.py", "tests/test_service.py", ".gitignore", "antiphon.toml"} <= set(told["files"])
