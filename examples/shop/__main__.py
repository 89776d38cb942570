"""`python -m examples.shop`: the shop, its six services in processes of their own, on one durable log in a file."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Annotated

import msgspec
import typer
from msgspec.structs import replace
from rich.console import Console

from antiphon import AntiphonError
from examples.shop.demo import Demo
from examples.shop.options import Options
from examples.shop.pace import StalledError
from examples.shop.processes import ServiceFailedError
from examples.shop.screen import show_refusals, show_result, shown
from examples.shop.stores import LOG, POSTGRES, StoreChoiceError, check_choice, served

USUAL_COUNT, CHAOS_COUNT = 5_000, 12_000
CHAOS_COUNT_BESIDE = 2_000
"""Enough where each service has a store of its own: after a death what was in work runs alone, a commit each."""
BAD_VERDICT, BAD_USAGE, INTERRUPTED = 1, 2, 130


def shop(
    orders: Annotated[Path | None, typer.Option(help="A CSV of real orders; without it they are generated.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many orders to generate.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other orders.")] = 1,
    workers: Annotated[int, typer.Option(min=1, max=8, help="Processes for payments and inventory, each.")] = 1,
    folder: Annotated[Path | None, typer.Option(help="Keep everything in this folder; it must hold no shop.")] = None,
    chaos: Annotated[bool, typer.Option("--chaos", help="Kill service processes while orders flow.")] = False,
    store: Annotated[
        str, typer.Option(help="Where services keep their tables: log, sqlite, postgres, or postgresql://user@host/db.")
    ] = LOG,
    json: Annotated[bool, typer.Option("--json", help="Print one object; the rest goes to standard error.")] = False,
) -> None:
    """Sell orders through six services over a durable log, and audit that nothing was lost and nothing done twice.

    Ends with 0 when everything is conserved, 1 when it is not or no order could be read, 2 when it cannot begin.
    """
    options = Options(
        file=orders,
        count=count or _usual_count(store, chaos=chaos),
        seed=seed,
        workers=workers,
        chaos=chaos,
        store=store,
    )
    console = Console(stderr=json, highlight=False)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:
            code = _prepared(options, _folder(folder, stack), console, stack, json=json)
    except KeyboardInterrupt:
        console.print("stopped; every service drained first")
        code = INTERRUPTED
    except (OSError, AntiphonError, StalledError, ServiceFailedError, StoreChoiceError) as error:
        _complain(error)
        code = BAD_USAGE if isinstance(error, (OSError, StoreChoiceError)) else BAD_VERDICT
    raise typer.Exit(code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Told to end, the demo does as on Ctrl-C: it takes down everything that it started."""
    signal.raise_signal(signal.SIGINT)


def _usual_count(store: str, *, chaos: bool) -> int:
    if not chaos:
        return USUAL_COUNT
    return CHAOS_COUNT if store == LOG else CHAOS_COUNT_BESIDE


def _folder(asked: Path | None, stack: ExitStack) -> Path:
    """The folder to use: the one asked for, or one that is deleted at the end."""
    if asked is None:
        return Path(stack.enter_context(TemporaryDirectory(prefix="shop-")))
    asked.mkdir(parents=True, exist_ok=True)
    if (asked / "shop.db").exists():
        raise FileExistsError(f"{asked} holds a shop already: give another folder, or delete what is in it")
    return asked.resolve()


def _prepared(options: Options, folder: Path, console: Console, stack: ExitStack, *, json: bool) -> int:
    """Run it on its stores; a server that it needs is started by this thread, and ends with it."""
    check_choice(options.store)
    if options.store == POSTGRES:
        console.print("starting a PostgreSQL")
    options = replace(options, store=stack.enter_context(served(options.store)))
    return asyncio.run(_run(options, folder, console, json=json))


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
