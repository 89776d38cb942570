"""The median time that a new interpreter takes to print the help of the module named on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median
from time import perf_counter

RUNS = 5


def once(module: str) -> float:
    started = perf_counter()
    subprocess.run([sys.executable, "-m", module, "--help"], stdout=subprocess.DEVNULL, check=True)
    return perf_counter() - started


def main() -> None:
    seconds = [once(sys.argv[1]) for _ in range(RUNS)]
    print(json.dumps({"value": median(seconds) * 1000, "seconds": sum(seconds)}))


if __name__ == "__main__":
    main()
