"""`python -m examples.shop`: the shop, its six services in processes of their own, on a log in a file or any broker."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Annotated

import msgspec
import typer
from msgspec.structs import replace
from rich.console import Console

from antiphon import AntiphonError
from antiphon.cli.option_sets import OptionSet, app_of
from examples.shop.brokers import NAMES, BrokerChoiceError, carried, check_broker, check_room
from examples.shop.brokers import POSTGRES as POSTGRES_BROKERS
from examples.shop.demo import Demo
from examples.shop.options import Options
from examples.shop.pace import StalledError
from examples.shop.processes import ServiceFailedError
from examples.shop.screen import show_refusals, show_result, shown
from examples.shop.stores import LOG, POSTGRES, StoreChoiceError, check_choice, served, usual_store

USUAL_COUNT, CHAOS_COUNT = 5_000, 12_000
CHAOS_COUNT_BESIDE = 2_000
"""Enough where each service has a store of its own: after a death what was in work runs alone, a commit each."""
CHOICES = (BrokerChoiceError, StoreChoiceError)
BAD_VERDICT, BAD_USAGE, INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class Places(OptionSet):
    """Where the shop is put up."""

    folder: Annotated[Path | None, typer.Option(help="Keep everything in this folder; it must hold no shop.")] = None
    broker: Annotated[
        str | None,
        typer.Option(help=f"What carries events instead of a file: {', '.join(NAMES)}, or the URL of yours."),
    ] = None
    store: Annotated[
        str | None,
        typer.Option(
            help="Where services keep their tables: log, sqlite, postgres, or postgresql://user@host/db. "
            "Without it log, or sqlite with --broker."
        ),
    ] = None


def shop(
    places: Places,
    *,
    orders: Annotated[Path | None, typer.Option(help="A CSV of real orders; without it they are generated.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many orders to generate.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other orders.")] = 1,
    workers: Annotated[int, typer.Option(min=1, max=8, help="Processes for payments and inventory, each.")] = 1,
    chaos: Annotated[bool, typer.Option("--chaos", help="Kill service processes while orders flow.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one object; the rest goes to standard error.")] = False,
) -> None:
    """Sell orders through six services over a log or a broker, and audit that nothing was lost and nothing done twice.

    Ends with 0 when everything is conserved, 1 when it is not or no order could be read, 2 when it cannot begin.
    """
    store = usual_store(places.broker) if places.store is None else places.store
    count = count or _usual_count(store, chaos=chaos)
    options = Options(
        file=orders, count=count, seed=seed, workers=workers, chaos=chaos, store=store, broker=places.broker
    )
    console = Console(stderr=json, highlight=False)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:
            code = _prepared(options, _folder(places.folder, stack), console, stack, json=json)
    except KeyboardInterrupt:
        console.print("stopped; every service drained first")
        code = INTERRUPTED
    except (OSError, AntiphonError, StalledError, ServiceFailedError, *CHOICES) as error:
        _complain(error)
        code = BAD_USAGE if isinstance(error, (OSError, *CHOICES)) else BAD_VERDICT
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
    """Run it on its broker and its stores; servers that they need are started by this thread, and end with it."""
    check_choice(options.store)
    if options.broker is not None:
        options = _on_broker(options, options.broker, console, stack)
    if options.store == POSTGRES:
        console.print("starting a PostgreSQL")
    options = replace(options, store=stack.enter_context(served(options.store)))
    return asyncio.run(_run(options, folder, console, json=json))


def _on_broker(options: Options, choice: str, console: Console, stack: ExitStack) -> Options:
    """With the broker's URL; a PostgreSQL that is started for it serves the stores, too."""
    check_broker(choice)
    check_room(choice, options.store)
    if choice in NAMES:
        console.print(f"starting a server: {choice}")
    url = stack.enter_context(carried(choice, chaos=options.chaos))
    is_shared = choice in POSTGRES_BROKERS and options.store == POSTGRES
    return replace(options, broker=url, store=url.partition("?")[0] if is_shared else options.store)


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
    app_of(shop)()
