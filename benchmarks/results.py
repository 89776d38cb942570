"""How measurements are shown and kept: a table for people, and the same as JSON in RESULTS.md."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from benchmarks.measure import Measurement

RESULTS = Path(__file__).parent / "RESULTS.md"
_KEPT = re.compile(r"(?<=<!-- measured -->\n).*(?=<!-- end -->)", re.DOTALL)
_JSON = re.compile(r"```json\n(.*?)```", re.DOTALL)


class Machine(Struct, frozen=True):
    """Where it was measured."""

    cores: int
    memory_gib: int
    python: str
    sqlite: str
    system: str
    date: str


class Kept(Struct, frozen=True):
    """What RESULTS.md holds between its marks."""

    machine: Machine
    measurements: list[Measurement]


def this_machine() -> Machine:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(memory / 2**30),
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        system=f"{platform.system()} {platform.machine()}",
        date=datetime.now(UTC).date().isoformat(),
    )


def table(measurements: Iterable[Measurement]) -> str:
    """A Markdown table with a row for each check."""
    rows = ["| measurement | ours | twin | peer | check | target | got | holds |", "|---|---|---|---|---|---|---|---|"]
    for each in measurements:
        figures = f"| {each.name} | {_figure(each.value)} {each.unit} | {_figure(each.twin)} | {_figure(each.peer)} "
        for check in each.checks:
            held = "yes" if check.holds else "**no**"
            rows.append(f"{figures}| {check.what} | {check.target} | {_figure(check.got)} | {held} |")
            figures = "| | | | "
    return "\n".join(rows)


def keep(measurements: Sequence[Measurement], path: Path = RESULTS) -> None:
    """Write them into the file, in the place of those of the same name; what was not measured now stays."""
    text = path.read_text("utf-8")
    fresh = {each.name: each for each in measurements}
    merged = {each.name: each for each in _kept(text)} | fresh
    machine = this_machine()
    encoded = msgspec.json.format(msgspec.json.encode(Kept(machine, list(merged.values())))).decode()
    where = (
        f"Measured on {machine.date}: {machine.cores} cores, {machine.memory_gib} GiB, Python {machine.python}, "
        f"SQLite {machine.sqlite}, {machine.system}."
    )
    block = f"\n{where}\n\n{table(merged.values())}\n\n```json\n{encoded}\n```\n\n"
    path.write_text(_KEPT.sub(lambda _: block, text), "utf-8")


def _kept(text: str) -> list[Measurement]:
    found = _JSON.search(text)
    return msgspec.json.decode(found[1], type=Kept).measurements if found else []


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:g}"
