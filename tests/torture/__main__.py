"""How `make torture` runs the kill scenarios: a line for each, then one JSON line for all."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.torture import Scenario, Tally, run, scenarios


def _report(name: str, function: Scenario, rounds: int) -> Tally:
    started = time.perf_counter()
    with TemporaryDirectory(prefix="torture-") as folder:
        tally = run(function, rounds, Path(folder))
    seconds = time.perf_counter() - started
    print(f"{name}: {rounds} rounds, lost {tally.lost}, double {tally.double}, {seconds:.1f} s", flush=True)
    return tally


def main() -> int:
    known = scenarios()
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="how many kills each scenario makes")
    parser.add_argument("--only", choices=sorted(known), action="append", help="run these scenarios only")
    arguments = parser.parse_args()
    tallies = [_report(name, known[name], arguments.rounds) for name in arguments.only or known]
    lost, double = sum(tally.lost for tally in tallies), sum(tally.double for tally in tallies)
    print(json.dumps({"rounds": arguments.rounds if tallies else 0, "lost": lost, "double": double}))
    return 1 if lost or double or not tallies else 0


if __name__ == "__main__":
    sys.exit(main())
