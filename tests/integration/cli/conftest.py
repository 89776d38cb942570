"""A small project in a folder of its own, and the command line as a person starts it."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from antiphon.cli.main import app

ROOT = Path(__file__).parents[3]
EVENTS = """
from decimal import Decimal
from antiphon import Key, Struct, event

@event(topic="orders")
class OrderPlaced(Struct, frozen=True):
    order_id: Key[str]
    total: Decimal

@event(topic="payments")
class PaymentAuthorised(Struct, frozen=True):
    order_id: Key[str]
"""
SERVICE = """
from antiphon import Retry, Service, Transaction
from payments.events import OrderPlaced, PaymentAuthorised

payments = Service("payments", policy=Retry(delayed=0))

@payments.on(OrderPlaced)
async def authorise(order: OrderPlaced, tx: Transaction) -> PaymentAuthorised:
    if order.order_id == "bad":
        raise ValueError("no such order")
    return PaymentAuthorised(order.order_id)
"""


class CommandLine:
    """Runs `antiphon` in the project's folder."""

    def __init__(self, folder):
        self.folder = folder
        self.started = []

    def __call__(self, *arguments, **environment):
        command = [sys.executable, "-m", "antiphon", *arguments]
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment(environment),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def start(self, *arguments):
        """Start it in the background; its output is in the folder, in `out` and `err`."""
        command = [sys.executable, "-m", "antiphon", *arguments]
        with (self.folder / "out").open("w") as out, (self.folder / "err").open("w") as err:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self._environment({}), stdout=out, stderr=err, stdin=subprocess.DEVNULL
            )
        self.started.append(process)
        return process

    def _environment(self, more):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
        return {**kept, **more}

    def wait_for(self, text, file="err"):
        """Wait until `text` was written. Fails with what was written instead."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            written = (self.folder / file).read_text()
            if text in written:
                return written
            time.sleep(0.05)
        raise AssertionError(f"{text!r} was not written; there is {written!r}")

    def stop(self):
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(20)


@pytest.fixture
def project(tmp_path):
    package = tmp_path / "payments"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "events.py").write_text(EVENTS)
    (package / "service.py").write_text(SERVICE)
    (tmp_path / "antiphon.toml").write_text('modules = ["payments"]\n[topics.orders]\npartitions = 4\n')
    return tmp_path


@pytest.fixture
def antiphon(project):
    command_line = CommandLine(project)
    yield command_line
    command_line.stop()


class Done(NamedTuple):
    """What a command in this process said, named as `subprocess` names it."""

    returncode: int
    stdout: str
    stderr: str


def _modules_below(folder):
    found = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
    return {name for name, file in found.items() if file.startswith(f"{folder}{os.sep}")}


@pytest.fixture
def ask(project, monkeypatch):
    """As `antiphon`, in this process: quicker, for commands that end at once and leave the logging alone."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "path", list(sys.path))
    beside = (each for folder in ("tests", "examples", "benchmarks") for each in _modules_below(ROOT / folder))
    for name in beside:  # a process of its own would not see the events that other tests declare
        monkeypatch.delitem(sys.modules, name)

    def call(*arguments, **environment):
        before, handlers, level = set(sys.modules), logging.root.handlers[:], logging.root.level
        try:
            result = CliRunner().invoke(app, arguments, env=environment, catch_exceptions=False)
        finally:
            for name in _modules_below(project) - before:
                del sys.modules[name]
            # What the command made writes to where the next one's words do not go.
            logging.root.handlers[:] = handlers
            logging.root.setLevel(level)
        return Done(result.exit_code, result.stdout, result.stderr)

    call.folder = project
    return call
