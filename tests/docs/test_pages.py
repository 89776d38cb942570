"""Whether every snippet of the README, the pages and the docstrings does what it says."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from tests.docs.snippets import ROOT, Page, SnippetError, docstrings

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_snippet_of_a_page_runs_as_printed(path: Path, tmp_path: Path) -> None:
    with Page(str(path.relative_to(ROOT)), tmp_path) as page:
        page.run(path.read_text("utf-8"))


def test_every_example_in_a_docstring_runs(tmp_path: Path) -> None:
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
    for path in SOURCES:
        for text in docstrings(path):
            with Page(str(path.relative_to(ROOT)), tmp_path) as page:
                page.run(text)
            runner.run(parser.get_doctest(text, {}, path.name, str(path), 0))
    assert runner.failures == 0


def test_the_readme_fits_on_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda path: path.name)
def test_a_decision_note_is_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 40


GOOD = """
```python
# shop/prices.py
PENCE = 100
```
```python
from shop.prices import PENCE
import asyncio
await asyncio.sleep(0)
```
```python
assert PENCE == 100
```
```console
$ python -c "print('one', 1); print('two'); print('three')"
one   1
th...ee
$ python -c "raise SystemExit(3)"  # exit 3
$ python -uc "print('up'); import time; time.sleep(60)" &
```
```sh
make test
```
"""

WRONG = [
    "```python\nassert False\n```",
    "```python\nimport shop.missing\n```",
    "```console\n$ python -c 'raise SystemExit(1)'\n```",
    "```console\n$ echo one\ntwo\n```",
    "```console\n$ printf 'one\\ntwo\\n'\ntwo\none\n```",
    "```sh\nno-such-command\n```",
    "```sh\nmake no-such-target\n```",
]


def test_a_good_page_runs_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with Page("good", tmp_path) as page:
        assert page.run(GOOD) == 5
    assert all(background.process.returncode is not None for background in page.started)
    with pytest.raises(ModuleNotFoundError):
        __import__("shop.prices")


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_page_is_found(text: str, tmp_path: Path) -> None:
    from subprocess import CalledProcessError

    with (
        Page("wrong", tmp_path) as page,
        pytest.raises((AssertionError, ModuleNotFoundError, SnippetError, CalledProcessError)),
    ):
        page.run(text)
