"""A program that asks for workers becomes several processes, which are watched, shared fairly and drained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAM = """
import os
from antiphon import Key, Service, Struct, event, run

@event(topic="numbers")
class Counted(Struct, frozen=True):
    number: Key[str]

service = Service("service")

@service.on(Counted)
async def count(counted: Counted) -> None:
    with open("seen.txt", "a") as seen:
        seen.write(f"{os.getpid()} {counted.number}\\n")

if __name__ == "__main__":
    run(service, workers=2)
"""

PUBLISH = """
import sys
from program import Counted
from antiphon import publish_blocking
publish_blocking(*(Counted(f"{sys.argv[1]}-{number}") for number in range(40)))
"""


class Program:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "program.py").write_text(PROGRAM)
        self.process = subprocess.Popen([sys.executable, "program.py"], cwd=folder)

    def publish(self, batch: str) -> None:
        subprocess.run([sys.executable, "-c", PUBLISH, batch], cwd=self.folder, check=True, timeout=30)

    def seen(self, batch: str) -> dict[str, int]:
        """Which process handled each number of a batch."""
        file = self.folder / "seen.txt"
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return {number: int(process) for process, number in lines if number.startswith(f"{batch}-")}

    def handled(self, batch: str) -> set[int]:
        """The processes that handled a batch, once it is handled whole."""
        within(30, lambda: len(self.seen(batch)) == 40)
        return set(self.seen(batch).values())


def within(seconds: float, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path)
    yield program
    if program.process.poll() is None:
        program.process.send_signal(signal.SIGTERM)
        program.process.wait(30)


def test_workers_share_the_work_and_a_fallen_one_is_replaced(program: Program) -> None:
    first = shared(program, "first")
    os.kill(min(first), signal.SIGKILL)
    second = shared(program, "second")
    assert len(first) == len(second) == 2
    assert max(first) in second
    assert min(first) not in second


def test_a_signal_drains_every_worker(program: Program) -> None:
    workers = shared(program, "first")
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(30) == 0
    assert not any(is_alive(worker) for worker in workers)


def shared(program: Program, name: str) -> set[int]:
    """Publish until two processes take part, and return them: a worker joins a moment after it was started."""
    for attempt in range(20):
        program.publish(f"{name}{attempt}")
        if len(workers := program.handled(f"{name}{attempt}")) == 2:
            return workers
    raise AssertionError("only one worker ever handled anything")


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
