"""All servers together fit on a small machine, and none of their processes outlives the run that used them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from antiphon.testing.servers import SERVERS

MARK = "ANTIPHON_TESTS_MARK"
MOST = 4 << 30
USER = """
import sys, time
from contextlib import ExitStack, suppress
from pathlib import Path
from antiphon.testing.servers import SERVERS, ServerMissingError, shared_server
with ExitStack() as using:
    for kind in SERVERS:
        with suppress(ServerMissingError):
            using.enter_context(shared_server(kind, Path(sys.argv[1]) / kind))
            print(kind, flush=True)
    print("all", flush=True)
    time.sleep(300)
"""


def processes() -> set[int]:
    return {int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()}


def read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text("utf-8", "replace")
    except OSError:
        return ""


def parent(pid: int) -> int:
    fields = read(pid, "stat").rpartition(")")[2].split()
    return int(fields[1]) if fields else 0


def is_there(pid: int) -> bool:
    return read(pid, "stat").rpartition(")")[2].split()[:1] not in ([], ["Z"])


def started(first: int, mark: str) -> set[int]:
    """Whoever descends from `first`, or was given the mark, of which one may be missing."""
    found = {pid for pid in processes() if f"{MARK}={mark}" in read(pid, "environ")} | {first}
    while more := {pid for pid in processes() - found if parent(pid) in found}:
        found |= more
    return found


def resident(pids: Iterable[int]) -> int:
    """Bytes that these hold in memory; what several share counts for each of them in part."""
    lines = [line.split() for pid in pids for line in read(pid, "smaps_rollup").splitlines()]
    return sum(int(words[1]) for words in lines if words[0] == "Pss:") * 1024


def test_all_servers_fit_together_and_end_with_a_run_that_is_killed(tmp_path):
    mark = uuid4().hex
    user = subprocess.Popen(
        [sys.executable, "-c", USER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, MARK: mark},
    )
    assert user.stdout is not None
    kinds = list(iter(lambda: user.stdout.readline().strip(), "all"))
    assert kinds == list(SERVERS) or "CI" not in os.environ, "CI installs what all of them need"
    theirs = started(user.pid, mark)
    assert len(theirs) > len(kinds), "each has a keeper, and a process"
    assert resident(theirs) < MOST
    user.send_signal(signal.SIGKILL)
    user.communicate()
    deadline = time.monotonic() + 60
    while left := [pid for pid in theirs if is_there(pid)]:
        assert time.monotonic() < deadline, f"still there: {[read(pid, 'cmdline') for pid in left]}"
        time.sleep(0.1)
