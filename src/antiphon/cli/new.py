"""`antiphon new`: a small service that runs and passes its own tests, to be changed into one's own."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from antiphon.cli.options import JsonOption
from antiphon.cli.output import print_json
from antiphon.errors import UsageError

app = typer.Typer(add_completion=False)

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_TAKEN = frozenset({"antiphon", "tests"})
_ENDING = ".tmpl"


@app.command()
def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the service and of its new folder.", show_default=False)
    ],
    as_json: JsonOption = False,
) -> None:
    """Make a small service that runs and passes its own tests."""
    package = _package_of(name)
    folder = Path(name)
    made = _write(folder, name, package)
    if as_json:
        print_json({"folder": str(folder.absolute()), "files": made})
        return
    for file in made:
        print(f"  {folder / file}")
    print(f"\ncd {name}, then: pytest, antiphon describe, antiphon run")


def _package_of(name: str) -> str:
    """The Python package of a service. Raises UsageError for a name that none can have."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a service: use small letters, digits and '-', as in order-history")
    package = name.replace("-", "_")
    if package in _TAKEN or package in sys.stdlib_module_names or keyword.iskeyword(package):
        raise UsageError(
            f"{name!r} is no name for a service: Python needs the name {package!r} for itself or its tests"
        )
    return package


def _write(folder: Path, name: str, package: str) -> list[str]:
    """Write the files into a folder that is new or empty. Raises UsageError, and then nothing was written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder.absolute()} is there already and not empty: choose another name")
    words = {"name": name, "package": package}
    made: list[str] = []
    try:
        for place, template in _templates(files("antiphon.cli").joinpath("templates", "service")):
            target = place.replace("package/", f"{package}/").replace("gitignore", ".gitignore")
            path = folder / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template(template).substitute(words), encoding="utf-8")
            made.append(target)
    except OSError as error:
        raise UsageError(f"{folder.absolute()} cannot be written: {error.strerror}") from error
    return made


def _templates(folder: Traversable, place: str = "") -> Iterator[tuple[str, str]]:
    """Every template below `folder`, where it belongs, and its text."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _templates(entry, f"{place}{entry.name}/")
        elif entry.name.endswith(_ENDING):
            yield place + entry.name.removesuffix(_ENDING), entry.read_text(encoding="utf-8")
