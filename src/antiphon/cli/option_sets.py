"""How do commands share whole sets of options? A class declares them, and a command takes a value of that class."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import get_type_hints

import typer


class OptionSet:
    """The base of dataclasses whose fields are options, annotated as Typer wants them."""


def app_of(command: Callable[..., None]) -> typer.Typer:
    """`command`, which may take option sets, as a program of its own."""
    app = typer.Typer(add_completion=False)
    app.command()(with_option_sets(command))
    return app


def with_option_sets(command: Callable[..., None]) -> Callable[..., None]:
    """`command` as Typer can read it: each parameter that is an option set is replaced by the options in it.

    Names must differ among all of them.
    """
    sets: dict[str, type[OptionSet]] = {}
    options: list[Parameter] = []
    for parameter in _parameters(command):
        kind: object = parameter.annotation
        if isinstance(kind, type) and issubclass(kind, OptionSet):
            sets[parameter.name] = kind
            options += _parameters(kind)
        else:
            options.append(parameter)

    @wraps(command)
    def call(**given: object) -> None:
        for name, kind in sets.items():
            given[name] = kind(**{each.name: given.pop(each.name) for each in _parameters(kind)})
        command(**given)

    vars(call)["__signature__"] = Signature(options)
    call.__annotations__ = {option.name: option.annotation for option in options}
    return call


def _parameters(function: Callable[..., object]) -> list[Parameter]:
    """What it takes, by name only, with annotations that are no text any more."""
    source = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]  # only to be looked at
    hints = get_type_hints(source, include_extras=True)
    return [
        parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
        for parameter in signature(function).parameters.values()
    ]
