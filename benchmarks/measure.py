"""How two or three programs that do the same work are compared: alternating runs, medians, checks.

A side is a program that does the work once and prints one JSON line: `value`, `seconds` (measured, preparation apart)
and whatever else its checks need. Each run is a process of its own, so that no side warms or burdens another.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from antiphon.testing.servers import Server

ROOT = Path(__file__).parent.parent
BUDGET = 40.0
"""Seconds of measuring, all sides together."""

Figures = dict[str, float]
Command = Sequence[str]


class Check(Struct, frozen=True):
    """One target and what was measured against it."""

    what: str
    target: str
    got: float
    holds: bool


class Measurement(Struct, frozen=True):
    """What one benchmark found; `twin` and `peer` are null where there is none."""

    name: str
    unit: str
    value: float
    twin: float | None
    peer: float | None
    checks: list[Check]


class Runs:
    """The figures of every side's runs, by side."""

    def __init__(self, figures: Mapping[str, Sequence[Figures]]) -> None:
        self._figures = figures

    def median(self, side: str, figure: str = "value") -> float:
        return median(run[figure] for run in self._figures[side])

    def ratio(self, other: str, figure: str = "value") -> float:
        """Ours to `other`, median to median."""
        return self.median("ours", figure) / self.median(other, figure)

    def median_of_pairs(self, other: str) -> float:
        """The median of ours to `other`, each run to the one beside it: what burdens the machine burdens both."""
        pairs = zip(self._figures["ours"], self._figures[other], strict=True)
        return median(ours["value"] / theirs["value"] for ours, theirs in pairs)

    def maybe(self, side: str) -> float | None:
        return self.median(side) if side in self._figures else None


class Benchmark(Struct, frozen=True):
    """One measurement: the question it answers, the programs it runs, and how they are judged."""

    name: str
    question: str
    unit: str
    sides: Callable[[], Mapping[str, Command]]
    """Makes what is missing (a peer's environment, say) and returns a command for each side."""
    judge: Callable[[Runs], list[Check]]
    rounds: int = 7
    """At most; fewer where they do not fit into the budget."""
    server: Callable[[], Server] | None = None
    """What all sides run against, started once; its URL becomes the last argument of each."""
    prepare: Command | None = None
    """Run once, as a side is, before the sides are."""
    load: Command | None = None
    """Run once, after the preparation; the value that it reports becomes an argument of each side, before the URL."""

    def measure(self) -> Measurement:
        with self._ready() as sides:
            runs = alternate(sides, self.rounds)
        return Measurement(
            name=self.name,
            unit=self.unit,
            value=_rounded(runs.median("ours")),
            twin=_maybe_rounded(runs.maybe("twin")),
            peer=_maybe_rounded(runs.maybe("peer")),
            checks=self.judge(runs),
        )

    @contextmanager
    def _ready(self) -> Generator[Mapping[str, Command]]:
        sides = self.sides()
        if self.server is None:
            yield sides
            return
        with self.server() as server:
            if self.prepare is not None:
                run_once((*self.prepare, server.url))
            arguments = [server.url]
            if self.load is not None:
                arguments.insert(0, str(run_once((*self.load, server.url))["value"]))
            yield {side: (*command, *arguments) for side, command in sides.items()}


def at_least(what: str, got: float, target: float, unit: str = "x") -> Check:
    return Check(what, f">= {target:g} {unit}", _rounded(got), got >= target)


def at_most(what: str, got: float, target: float, unit: str = "x") -> Check:
    return Check(what, f"<= {target:g} {unit}", _rounded(got), got <= target)


def module(name: str, *arguments: str) -> Command:
    """The command of a side that is a module of this package, run by this interpreter."""
    return (sys.executable, "-m", f"benchmarks.{name}", *arguments)


def alternate(sides: Mapping[str, Command], rounds: int) -> Runs:
    """Run the sides in turns, `rounds` times or until the budget is spent, each at least once."""
    figures: dict[str, list[Figures]] = {side: [] for side in sides}
    spent = slowest = 0.0
    for _ in range(rounds):
        if spent + slowest > BUDGET:
            break
        round_took = 0.0
        for side, command in sides.items():
            run = run_once(command)
            figures[side].append(run)
            round_took += run["seconds"]
        spent, slowest = spent + round_took, max(slowest, round_took)
    return Runs(figures)


def run_once(command: Command) -> Figures:
    """Run one side and read its last line."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return msgspec.json.decode(done.stdout.strip().rpartition("\n")[2], type=Figures)


def report(count: int, seconds: float, *, done: int, **figures: float) -> None:
    """Print a side's line: `count` things took `seconds`. Fails when not all of them were done."""
    if done != count:
        raise SystemExit(f"{done} of {count} were done")
    print(msgspec.json.encode({"value": count / seconds, "seconds": seconds, **figures}).decode())


def _rounded(value: float) -> float:
    return round(value, 3 if abs(value) < 100 else 0)


def _maybe_rounded(value: float | None) -> float | None:
    return None if value is None else _rounded(value)
