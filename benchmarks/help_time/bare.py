"""A Typer app with as many commands as ours, which do nothing."""

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True)


def nothing(name: str) -> None:
    """Do nothing with this one."""


for command in ("new", "run", "describe", "publish", "tail", "topics", "groups", "dead-letters"):
    app.command(command)(nothing)

if __name__ == "__main__":
    app()
