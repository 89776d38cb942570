"""`python -m benchmarks` lists the measurements, `NAME [--json]` runs one, `--all` runs all and keeps them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from subprocess import CalledProcessError

import msgspec

from benchmarks.catalog import NAMES, benchmark
from benchmarks.measure import Measurement
from benchmarks.results import keep, table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=NAMES, metavar="NAME", help="the measurement to run")
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--keep", action="store_true", help="write what was found into RESULTS.md")
    parser.add_argument("--all", action="store_true", help="run all, print the table, and keep it")
    arguments = parser.parse_args()
    name: str | None = arguments.name
    if name is None and not arguments.all:
        print("\n".join(f"{each:<18} {benchmark(each).question}" for each in NAMES))
        return
    names = NAMES if name is None else [name]
    measurements = list(measured(names))
    if arguments.keep or arguments.all:
        keep(measurements)
    if measurements:
        print(msgspec.json.encode(measurements[0]).decode() if arguments.json else table(measurements))
    if len(measurements) < len(names):
        sys.exit(1)


def measured(names: Iterable[str]) -> Iterable[Measurement]:
    """Each in turn, telling on standard error which; one that fails takes no other with it."""
    for name in names:
        print(f"measuring {name}", file=sys.stderr)
        try:
            yield benchmark(name).measure()
        except CalledProcessError as error:
            print(f"{name} failed: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
