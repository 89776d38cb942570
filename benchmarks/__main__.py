"""`python -m benchmarks` lists the measurements, `NAME [--json]` runs one, `--all` runs all and keeps them."""

from __future__ import annotations

import argparse
import sys

import msgspec

from benchmarks.catalog import NAMES, benchmark
from benchmarks.measure import Measurement
from benchmarks.results import keep, table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=NAMES, metavar="NAME", help="the measurement to run")
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--all", action="store_true", help="run all, print the table, and keep it in RESULTS.md")
    arguments = parser.parse_args()
    if arguments.all:
        return run_all()
    if arguments.name is None:
        print("\n".join(f"{name:<18} {benchmark(name).question}" for name in NAMES))
        return 0
    measured = benchmark(arguments.name).measure()
    print(msgspec.json.encode(measured).decode() if arguments.json else table([measured]))
    return 0


def run_all() -> int:
    measurements: list[Measurement] = []
    for name in NAMES:
        print(f"measuring {name}", file=sys.stderr)
        measurements.append(benchmark(name).measure())
    keep(measurements)
    print(table(measurements))
    return 0


if __name__ == "__main__":
    sys.exit(main())
