"""The command line lists its commands without importing them, and every listing tells the truth."""

from importlib import import_module

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from antiphon.cli.main import Commands, app

runner = CliRunner()


def test_help_lists_every_command_with_its_help():
    shown = " ".join(runner.invoke(app, ["--help"]).output.replace("│", " ").split())
    assert all(name in shown and entry.help in shown for name, entry in Commands.table.items())


@pytest.mark.parametrize("name", Commands.table)
def test_the_table_says_what_the_command_itself_says(name):
    command = get_command(import_module(Commands.table[name].module).app)
    assert (command.help or "").splitlines()[0] == Commands.table[name].help


@pytest.mark.parametrize("name", Commands.table)
def test_every_command_explains_itself(name):
    result = runner.invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert Commands.table[name].help.split(",")[0] in " ".join(result.output.split())


def test_a_mistyped_command_is_answered_with_the_nearest_one():
    result = runner.invoke(app, ["topcs"])
    assert result.exit_code == 2
    assert "Did you mean 'topics'?" in result.output


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("tail", "tail: missing argument 'TOPIC'"),
        ("move", "move: missing option '--from'"),
        ("move --from embedded:///a.db", "move: missing option '--to'"),
        ("topics --nope", "topics: no such option: --nope"),
        ("--nope", "no such option: --nope"),
        ("tail orders --limit 0", "tail: invalid value for '--limit' / '-n'"),
        ("groups seek", "groups seek: missing argument 'GROUP'"),
        ("dead-letters nope", "dead-letters: no such command 'nope'"),
    ],
)
def test_a_call_that_cannot_be_read_is_told_in_one_line_like_every_failure(call, told):
    result = runner.invoke(app, call.split())
    assert result.exit_code == 2
    assert result.stdout == ""
    error, hint = result.stderr.splitlines()
    assert error.startswith("error: ")
    assert told in error
    assert hint.endswith("--help says how it is called")


@pytest.mark.parametrize("call", [[], ["dead-letters"]])
def test_commands_alone_are_listed(call):
    shown = " ".join(runner.invoke(app, call).output.split())
    assert "Usage:" in shown
    assert "error:" not in shown


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    assert runner.invoke(app, ["--version"]).output == f"antiphon {version('antiphon')}\n"
