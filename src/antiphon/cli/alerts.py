"""`antiphon alerts`: which rules tell Prometheus when a person should look?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, cast

import msgspec
import typer

from antiphon.cli.options import JsonOption
from antiphon.cli.output import print_json
from antiphon.errors import UsageError
from antiphon.events import amounts
from antiphon.observability.rules import RUNBOOKS, make_rules, render_rules
from antiphon.observability.thresholds import Thresholds

app = typer.Typer(add_completion=False)


@app.command()
def alerts(
    thresholds: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Change a threshold, as in lag=10m; see docs/howto/alerts.md."
        ),
    ] = None,
    apart: Annotated[
        list[str] | None,
        typer.Option(
            "--by", metavar="LABEL", help="Keep apart what differs in this label, besides job; as in cluster."
        ),
    ] = None,
    runbooks: Annotated[
        str,
        typer.Option(
            "--runbooks",
            metavar="URL",
            help="Your copy of the page that says what to do; each alert links its section.",
        ),
    ] = RUNBOOKS,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write them to a file instead of printing them."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the alerts of every service as a rules file for Prometheus."""
    rules = make_rules(read_thresholds(thresholds or ()), ("job", *(apart or ())), runbooks)
    if output is not None:
        _write(output, msgspec.json.encode(rules).decode() if as_json else render_rules(rules))
        print(f"{output}: {sum(len(group.rules) for group in rules.groups)} rules", file=sys.stderr)
    elif as_json:
        print_json(rules)
    else:
        print(render_rules(rules), end="")


def read_thresholds(written: Sequence[str]) -> Thresholds:
    """The thresholds, with those changed that are written as `lag=10m`. Raises UsageError."""
    kinds = {field.name: cast("object", field.type) for field in msgspec.structs.fields(Thresholds)}
    given: dict[str, object] = {}
    for one in written:
        name, sign, value = one.partition("=")
        name = name.strip().replace("-", "_")
        if not sign:
            raise UsageError(f"{one!r}: write NAME=VALUE, as in lag=10m")
        if name not in kinds:
            raise UsageError(f"{one!r}: there is no threshold {name!r}; {_nearest(name, list(kinds))}")
        if name in given:
            raise UsageError(f"{one!r}: the threshold {name!r} is given twice")
        given[name] = _read(one, value, kinds[name])
    return Thresholds(**given)  # type: ignore[arg-type]  # each was read as its field's type


def _read(one: str, value: str, kind: object) -> object:
    try:
        if kind is timedelta:
            return amounts.duration(value)
        return int(value) if kind is int else float(value)
    except ValueError as error:
        how = str(error) if kind is timedelta else f"it must be a {'whole ' if kind is int else ''}number"
        raise UsageError(f"{one!r}: {how}") from error


def _nearest(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"they are {', '.join(known)}"


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path.absolute()} cannot be written: {error.strerror}") from error
