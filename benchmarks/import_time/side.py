"""The median time that a new interpreter takes to import the modules named on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median

RUNS = 9
TIMED = "from time import perf_counter\nstarted = perf_counter()\nimport {}\nprint(perf_counter() - started)"


def once(modules: str) -> float:
    done = subprocess.run([sys.executable, "-c", TIMED.format(modules)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    seconds = [once(", ".join(sys.argv[1:])) for _ in range(RUNS)]
    print(json.dumps({"value": median(seconds) * 1000, "seconds": sum(seconds)}))


if __name__ == "__main__":
    main()
