"""How commands are listed without importing them: a table of names, modules and help."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from antiphon.errors import AntiphonError

if TYPE_CHECKING:
    from typer import Context


_INTERRUPTED = 130
_MisusedError = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""What Typer raises for options and arguments that it cannot use; it keeps the class itself to itself."""


class _Misused(Protocol):
    def format_message(self) -> str: ...


def _told(error: Exception) -> Exception:
    """Print what is wrong with a call of a command, in one line as every failure; returns what ends the program.

    That a command alone asks for its help is no failure, and comes back as it is.
    """
    from antiphon.cli.failures import report_misuse

    if type(error).__name__ == "NoArgsIsHelpError":
        return error
    context: Context | None = getattr(error, "ctx", None)
    text = cast("_Misused", error).format_message()
    return typer.Exit(report_misuse(text, None if context is None else context.command_path))


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

    def make_context(self, info_name: str | None, args: list[str], parent: Context | None = None, **extra: object):  # type: ignore[no-untyped-def,override]  # as above
        try:
            return super().make_context(info_name, args, parent, **extra)
        except _MisusedError as error:
            raise _told(error) from None

    def load(self, name: str) -> None:
        """Import the command `name`, so that it can be run."""
        entry = self.table[name]
        command = get_command(getattr(import_module(entry.module), entry.app))
        command.name = name
        self.commands[name] = command

    def invoke(self, ctx: Context) -> object:  # type: ignore[override]  # Typer keeps the type of its context to itself
        """Run the command. Our own errors, and what nobody could read of the options, become one line and an exit code.

        Any other is a defect and shows itself.
        """
        try:
            return super().invoke(ctx)
        except _MisusedError as error:
            raise _told(error) from None
        except AntiphonError as error:
            from antiphon.cli.failures import report

            raise typer.Exit(report(error)) from None
        except (KeyboardInterrupt, typer.Abort):
            raise typer.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            from antiphon.cli.failures import hush

            raise typer.Exit(hush()) from None
