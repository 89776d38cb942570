"""The median time that a new interpreter takes to import the modules named on the command line.

All come from bytecode, as those of installed packages do: where the environment keeps Python from writing it, ours
would be compiled at each import, and the others, which were compiled when they were installed, would not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from statistics import median

RUNS = 9
TIMED = "from time import perf_counter\nstarted = perf_counter()\nimport {}\nprint(perf_counter() - started)"


def once(modules: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", TIMED.format(modules)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    modules = ", ".join(sys.argv[1:])
    once(modules)  # writes what bytecode is missing
    seconds = [once(modules) for _ in range(RUNS)]
    print(json.dumps({"value": median(seconds) * 1000, "seconds": sum(seconds)}))


if __name__ == "__main__":
    main()
