"""The commands are listed without importing them, and every listing tells the truth."""

import subprocess
import sys
from importlib import import_module

import pytest
from typer.main import get_command

from antiphon.cli.dead_letters import DeadLetterCommands


@pytest.mark.parametrize("name", DeadLetterCommands.table)
def test_the_table_says_what_the_command_itself_says(name):
    entry = DeadLetterCommands.table[name]
    command = get_command(getattr(import_module(entry.module), entry.app))
    assert (command.help or "").splitlines()[0] == entry.help


def test_listing_dead_letters_loads_nothing_of_services():
    loads = "import sys, antiphon.cli.dead_letters.listing; print('antiphon.runtime.service' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
