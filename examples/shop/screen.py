"""What does whoever runs the shop see: bars while orders flow, a table and a verdict at the end?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import perf_counter

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.shop.demo import Demo, Result
from examples.shop.processes import SERVICES
from examples.shop.refusals import Refusals
from examples.shop.verdict import Verdict

FRAMES_PER_SECOND = 10
BAR_WIDTH = 44


class Screen:
    """Draws a demo while it runs."""

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self._handled, self._at, self._rate = 0, perf_counter(), 0.0

    def __rich__(self) -> RenderableType:
        demo = self._demo
        title = Text.assemble((" The shop ", "bold"), (f" {demo.source.name} ", "dim"))
        body = Group(Text(demo.stage, "bold yellow"), Text(), self._bars(), Text(), self._undone(), self._services())
        return Panel(Padding(body, (1, 2)), title=title, title_align="left", border_style="dim", width=96)

    def _bars(self) -> Table:
        demo, table = self._demo, Table.grid(padding=(0, 2))
        steps = (
            ("placed", demo.storefront.placed, "cyan"),
            ("paid for", demo.watch.payments["authorised"], "blue"),
            ("confirmed", demo.watch.states["confirmed"], "magenta"),
            ("shipped", demo.watch.states["shipped"], "green"),
            ("ended", demo.watch.ended, "white"),
        )
        for name, count, color in steps:
            bar = ProgressBar(max(demo.total, 1), count, BAR_WIDTH, complete_style=color, finished_style=color)
            table.add_row(Text(name, color), bar, Text(f"{count:>7,} of {demo.total:,}", color))
        return table

    def _undone(self) -> Text:
        states = self._demo.watch.states
        return Text.assemble(
            ("undone     ", "dim"),
            (f"{states['declined']:,} declined", "red"),
            ("  ·  ", "dim"),
            (f"{states['out of stock']:,} out of stock", "red"),
            ("  ·  ", "dim"),
            (f"{states['cancelled']:,} cancelled", "red"),
        )

    def _services(self) -> Text:
        processes = self._demo.processes
        self._measure(processes.totals().handled)
        line = Text.assemble(("services   ", "dim"), (f"{self._rate:>7,.0f} events/s", "bold"), "\n")
        running = processes.up()
        for service in SERVICES:
            up = service in running
            kills = processes.kills[service]
            line.append(
                "           ● " if service == SERVICES[0] else "● ", "green" if up else "red" if kills else "dim"
            )
            line.append(service + (f" ({kills} kills)" if kills else "") + "   ")
            if kills and service == SERVICES[2]:
                line.append("\n           ")
        return line

    def _measure(self, handled: int) -> None:
        """The speed over about the last second, smoothed so that it can be read."""
        now = perf_counter()
        if handled and now > self._at:
            latest = (handled - self._handled) / (now - self._at)
            self._rate += (latest - self._rate) * min(1.0, (now - self._at) * 2)
        self._handled, self._at = handled, now


@asynccontextmanager
async def shown(demo: Demo, console: Console) -> AsyncGenerator[None]:
    """Show `demo` as long as the block runs: bars on a terminal, else a line for each new stage."""
    showing = asyncio.create_task(_draw(demo, console) if console.is_terminal else _tell(demo, console))
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)


async def _draw(demo: Demo, console: Console) -> None:
    with Live(Screen(demo), console=console, auto_refresh=False) as live:
        try:
            while True:
                live.refresh()
                await asyncio.sleep(1 / FRAMES_PER_SECOND)
        finally:
            live.refresh()


async def _tell(demo: Demo, console: Console) -> None:
    told = ""
    while True:
        if demo.stage != told:
            told = demo.stage
            console.print(told, highlight=False)
        await asyncio.sleep(1 / FRAMES_PER_SECOND)


def show_refusals(refusals: Refusals, console: Console) -> None:
    """The first refused rows, each with its place, and how many there were of each reason."""
    for refusal in refusals.first:
        console.print(f"refused: {refusal}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    if refusals.total > len(refusals.first):
        console.print(f"refused: {refusals.total - len(refusals.first)} more rows", style="yellow")
    if refusals.total:
        reasons = ", ".join(f"{count} {reason}" for reason, count in refusals.counts.most_common())
        console.print(f"refused by reason: {reasons}", style="yellow", highlight=False, soft_wrap=True)


def show_result(result: Result, verdict: Verdict, console: Console) -> None:
    """The table, and the verdict with its reasons."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in _rows(result):
        table.add_row(Text(name, "dim"), Text(value, "bold"))
    console.print(Padding(table, (1, 0, 1, 0)))
    if verdict.is_good:
        found = Text(
            "Conserved: every order ended in exactly one way, nothing was lost, nothing happened twice, "
            "and every penny and every piece is accounted for.",
            "bold green",
        )
    else:
        found = Text("\n".join(["Not conserved:", *verdict.problems[:30]]), "bold red")
    console.print(Panel(found, border_style="green" if verdict.is_good else "red", width=96))


def _rows(result: Result) -> list[tuple[str, str]]:
    return [
        ("orders", f"{result.orders:,}  ({result.refused:,} rows refused)"),
        ("confirmed and shipped", f"{result.confirmed:,}"),
        ("payment declined", f"{result.declined:,}"),
        ("out of stock", f"{result.out_of_stock:,}"),
        ("cancelled, all undone", f"{result.cancelled:,}"),
        ("events handled", f"{result.events:,}"),
        ("duplicates suppressed", f"{result.duplicates:,}"),
        ("redelivered", f"{result.redelivered:,}"),
        ("dead letters", f"{result.dead_letters:,}"),
        ("processes killed", f"{result.kills:,}"),
        ("lost", f"{result.lost:,}"),
        ("double effects", f"{result.double_effects:,}"),
        ("throughput", f"{result.events_per_second:,.0f} events/s  ({result.seconds:.1f} s in all)"),
        ("published to handled", f"{result.p50_ms:.1f} ms median, {result.p99_ms:.1f} ms p99  (at half that speed)"),
    ]
