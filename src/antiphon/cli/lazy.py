"""How commands are listed without importing them: a table of names, modules and help."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from antiphon.errors import AntiphonError

if TYPE_CHECKING:
    from typer import Context


_INTERRUPTED = 130


class LazyCommand(NamedTuple):
    """Where a command is (a module with a Typer, named `app` unless said), and the first line of its help."""

    module: str
    help: str
    app: str = "app"


class LazyCommands(TyperGroup):
    """A group whose commands are imported when they are run, not when they are listed."""

    table: ClassVar[Mapping[str, LazyCommand]] = MappingProxyType({})

    def __init__(self, **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type]  # passed on as they came
        for name, entry in self.table.items():
            self.commands[name] = TyperCommand(name, help=entry.help)

    def resolve_command(self, ctx: Context, args: list[str]):  # type: ignore[no-untyped-def,override]  # Typer keeps these types to itself
        if args and args[0] in self.table:
            self.load(args[0])
        return super().resolve_command(ctx, args)

    def load(self, name: str) -> None:
        """Import the command `name`, so that it can be run."""
        entry = self.table[name]
        command = get_command(getattr(import_module(entry.module), entry.app))
        command.name = name
        self.commands[name] = command

    def invoke(self, ctx: Context) -> object:  # type: ignore[override]  # Typer keeps the type of its context to itself
        """Run the command. Our own errors become one line and an exit code; any other is a defect and shows itself."""
        try:
            return super().invoke(ctx)
        except AntiphonError as error:
            from antiphon.cli.failures import report

            raise typer.Exit(report(error)) from None
        except (KeyboardInterrupt, typer.Abort):
            raise typer.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            from antiphon.cli.failures import hush

            raise typer.Exit(hush()) from None
