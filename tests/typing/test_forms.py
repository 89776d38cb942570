"""Which forms of user code do mypy strict and pyright strict accept, and which do they refuse?

Every file in `forms/` is checked by both, each started once. A line that must be refused says so with a comment,
`# refused: mypy[code] pyright[rule]`; every other line must be accepted. Files called `*_accepted.py` must also run.
"""

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

FORMS = Path(__file__).parent / "forms"
ROOT = Path(__file__).parents[2]
FILES = sorted(path.name for path in FORMS.glob("*.py"))
_REFUSED = re.compile(r"#\s*refused:(?P<errors>.*)$")
_ERROR = re.compile(r"(?P<checker>mypy|pyright)\[(?P<code>[\w-]+)\]")


class Refusal(NamedTuple):
    """One line that a checker refuses, and why."""

    file: str
    line: int
    code: str


Findings = dict[Refusal, str]


def run(*command: str) -> str:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    # 1 means that something was refused; anything above, that the checker itself failed.
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done.stdout


def mypy_findings() -> Findings:
    found = (json.loads(line) for line in run("mypy", "--strict", "--output", "json", str(FORMS)).splitlines())
    return {
        Refusal(Path(one["file"]).name, one["line"], one["code"]): one["message"]
        for one in found
        if one["severity"] == "error"
    }


def pyright_findings() -> Findings:
    found: list[dict[str, Any]] = json.loads(run("pyright", "--outputjson", str(FORMS)))["generalDiagnostics"]
    return {
        Refusal(Path(one["file"]).name, one["range"]["start"]["line"] + 1, one["rule"]): one["message"]
        for one in found
        if one["severity"] == "error"
    }


def expected(checker: str, file: str) -> set[Refusal]:
    refusals: set[Refusal] = set()
    for number, text in enumerate((FORMS / file).read_text("utf-8").splitlines(), start=1):
        if marked := _REFUSED.search(text):
            errors = _ERROR.finditer(marked["errors"])
            refusals.update(Refusal(file, number, error["code"]) for error in errors if error["checker"] == checker)
    return refusals


CHECKERS: dict[str, Callable[[], Findings]] = {"mypy": mypy_findings, "pyright": pyright_findings}


@pytest.fixture(scope="module", params=CHECKERS)
def checked(request: pytest.FixtureRequest) -> tuple[str, Findings]:
    return request.param, CHECKERS[request.param]()


@pytest.mark.parametrize("file", FILES)
def test_checkers_refuse_the_marked_lines_and_no_others(checked: tuple[str, Findings], file: str) -> None:
    checker, findings = checked
    found = {refusal: said for refusal, said in findings.items() if refusal.file == file}
    surprises = [
        f"{file}:{one.line} [{one.code}] {found[one]}" for one in sorted(found.keys() - expected(checker, file))
    ]
    missed = [f"{file}:{one.line} [{one.code}] is accepted" for one in sorted(expected(checker, file) - found.keys())]
    assert not surprises + missed, f"{checker}:\n" + "\n".join(surprises + missed)


@pytest.mark.parametrize("file", FILES)
def test_a_file_says_by_its_name_whether_lines_of_it_are_refused(file: str) -> None:
    assert file.endswith(("_accepted.py", "_refused.py"))
    for checker in CHECKERS:
        assert bool(expected(checker, file)) == file.endswith("_refused.py")


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith("_accepted.py")])
def test_accepted_forms_run(file: str) -> None:
    assert runpy.run_path(str(FORMS / file))
