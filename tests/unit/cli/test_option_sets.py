"""A command takes a set of options as one value, and the command line shows and reads each of them."""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from antiphon.cli.option_sets import OptionSet, with_option_sets


@dataclass(frozen=True, kw_only=True)
class Place(OptionSet):
    host: Annotated[str, typer.Option("--host", "-H", help="Where.")] = "here"
    ports: Annotated[list[int] | None, typer.Option("--port")] = None


@dataclass(frozen=True, kw_only=True)
class Names(OptionSet):
    names: Annotated[list[str], typer.Argument(metavar="NAME")]


def call(*arguments):
    seen = []

    def command(names: Names, place: Place, loud: Annotated[bool, typer.Option("--loud")] = False) -> None:
        """Say names."""
        seen.append((names, place, loud))

    app = typer.Typer()
    app.command()(with_option_sets(command))
    result = CliRunner().invoke(app, arguments)
    return result, seen


def test_each_option_of_a_set_is_read_into_its_value():
    result, seen = call("ada", "grace", "-H", "there", "--port", "1", "--port", "2", "--loud")
    assert result.exit_code == 0, result.output
    assert seen == [(Names(names=["ada", "grace"]), Place(host="there", ports=[1, 2]), True)]


def test_what_is_not_given_has_its_default():
    _, seen = call("ada")
    assert seen == [(Names(names=["ada"]), Place(host="here", ports=None), False)]


def test_the_help_names_the_options_and_not_the_sets():
    result, _ = call("--help")
    assert "Say names." in result.output
    assert "--host" in result.output
    assert "--place" not in result.output


def test_what_is_missing_or_unknown_is_refused():
    assert call()[0].exit_code == 2
    assert call("ada", "--hots", "x")[0].exit_code == 2
