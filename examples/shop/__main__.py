"""`python -m examples.shop`: the shop, its six services in processes of their own, on one durable log in a file."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from antiphon import AntiphonError
from examples.shop.demo import Demo
from examples.shop.options import Options
from examples.shop.pace import StalledError
from examples.shop.processes import ServiceFailedError
from examples.shop.screen import show_refusals, show_result, shown

USUAL_COUNT, CHAOS_COUNT = 5_000, 12_000
BAD_VERDICT, BAD_USAGE, INTERRUPTED = 1, 2, 130


def shop(
    orders: Annotated[Path | None, typer.Option(help="A CSV of real orders; without it they are generated.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many orders to generate.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other orders.")] = 1,
    workers: Annotated[int, typer.Option(min=1, max=8, help="Processes for payments and inventory, each.")] = 1,
    folder: Annotated[Path | None, typer.Option(help="Keep everything in this folder; it must hold no shop.")] = None,
    chaos: Annotated[bool, typer.Option("--chaos", help="Kill service processes while orders flow.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one object; the rest goes to standard error.")] = False,
) -> None:
    """Sell orders through six services over a durable log, and audit that nothing was lost and nothing done twice.

    Ends with 0 when everything is conserved, 1 when it is not or no order could be read, 2 when it cannot begin.
    """
    options = Options(
        file=orders,
        count=count or (CHAOS_COUNT if chaos else USUAL_COUNT),
        seed=seed,
        workers=workers,
        chaos=chaos,
    )
    console = Console(stderr=json, highlight=False)
    try:
        with ExitStack() as stack:
            code = asyncio.run(_run(options, _folder(folder, stack), console, json=json))
    except KeyboardInterrupt:
        console.print("stopped; every service drained first")
        code = INTERRUPTED
    except (OSError, AntiphonError, StalledError, ServiceFailedError) as error:
        _complain(error)
        code = BAD_USAGE if isinstance(error, OSError) else BAD_VERDICT
    raise typer.Exit(code)


def _folder(asked: Path | None, stack: ExitStack) -> Path:
    """The folder to use: the one asked for, or one that is deleted at the end."""
    if asked is None:
        return Path(stack.enter_context(TemporaryDirectory(prefix="shop-")))
    asked.mkdir(parents=True, exist_ok=True)
    if (asked / "shop.db").exists():
        raise FileExistsError(f"{asked} holds a shop already: give another folder, or delete what is in it")
    return asked.resolve()


async def _run(options: Options, folder: Path, console: Console, *, json: bool) -> int:
    demo = Demo(options, folder)
    async with shown(demo, console):
        result, verdict = await demo.run()
    show_refusals(demo.refusals, Console(stderr=True))
    if json:
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    show_result(result, verdict, console)
    if result.orders == 0:
        _complain(f"{demo.source.name} holds no order")
        return BAD_VERDICT
    return 0 if verdict.is_good else BAD_VERDICT


def _complain(problem: object) -> None:
    if isinstance(problem, OSError) and problem.filename:
        problem = f"cannot use {problem.filename}: {problem.strerror}"
    Console(stderr=True).print(f"shop: {problem}", style="red", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(shop)
