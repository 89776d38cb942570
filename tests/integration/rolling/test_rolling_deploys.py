"""A new version of the code takes over under load, one process after another: nothing is lost, doubled or overtaken."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from antiphon.errors import StoreUnavailableError
from antiphon.events.ids import new_id
from antiphon.storage.connect import connect_store

ROOT = Path(__file__).parents[3]
INSTANCES, CUSTOMERS, AFTERWARDS = 3, 8, 60


class Effect(NamedTuple):
    service: str
    version: int
    customer: str
    what: int
    published: float
    handled: float


class Deploy:
    """Instances of the shop as processes, and those who buy there."""

    def __init__(self, folder: Path, broker: str, store: str) -> None:
        self.folder, self.broker, self.store = folder, broker, store
        self.deployed = folder / "deployed"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
        self._environment = {**kept, "RUN": new_id().replace("-", "")[-10:]}
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, role: str) -> subprocess.Popen[bytes]:
        """Start one, and return when it runs."""
        place = str(self.deployed) if role == "buy" else self.store
        command = [sys.executable, "-m", "tests.integration.rolling.shop", role, self.broker, place]
        file = self.folder / f"{len(self.processes)}-{role}.txt"
        with file.open("wb") as told:
            process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=told, stderr=told)
        self.processes.append(process)
        if role != "buy":
            self.until(lambda: "ready" in file.read_text())
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, self.told()

    def told(self) -> str:
        return "\n".join(file.read_text()[-2000:] for file in sorted(self.folder.glob("*-*.txt")))

    def until(self, holds: Callable[[], object], seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"not within {seconds} s\n{self.told()}"
            assert all(process.poll() in (None, 0) for process in self.processes), self.told()
            time.sleep(0.05)

    def effects(self) -> Sequence[Effect]:
        """All of them, in the order in which they happened."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return asyncio.run(self._effects())
            except StoreUnavailableError:  # the services write all the time, and may on a busy machine keep us waiting
                if time.monotonic() > deadline:
                    raise

    async def _effects(self) -> Sequence[Effect]:
        store = connect_store(self.store)
        await store.open()
        try:
            columns = ", ".join(Effect._fields)
            return await store.fetch(f"select {columns} from effects order by number", row=Effect)
        finally:
            await store.close()

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


class Pauses(NamedTuple):
    """Seconds: for how long nothing was handled at most, and how old an order was at most when it was handled."""

    silence: float
    oldest: float
    usually: float
    """How old an order was at most before the deploy began."""


def rolled(deploy: Deploy) -> tuple[dict[str, Pauses], int]:
    """Deploy the second version; returns what was measured of each service, and how often each customer ordered."""
    instances = [deploy.start("first") for _ in range(INSTANCES)]
    buying = deploy.start("buy")
    deploy.until(lambda: len(deploy.effects()) > 20 * CUSTOMERS)
    begun = time.time()
    for old in instances:
        deploy.start("second")
        deploy.stop(old)
    ended = time.time()
    deploy.deployed.touch()
    assert buying.wait(60) == 0
    placed = int((deploy.folder / f"{INSTANCES}-buy.txt").read_text())
    deploy.until(lambda: len(deploy.effects()) >= 2 * CUSTOMERS * placed)
    for process in deploy.processes[INSTANCES + 1 :]:
        deploy.stop(process)
    effects = deploy.effects()
    return {service: pauses(effects, service, begun, ended) for service in ("billing", "shipping")}, placed


def pauses(effects: Sequence[Effect], service: str, begun: float, ended: float) -> Pauses:
    times = sorted(each.handled for each in effects if each.service == service)
    silences = [after - before for before, after in pairwise(times) if after > begun and before < ended]
    ages = [(each.handled - each.published, each.handled) for each in effects if each.service == service]
    during = max((age for age, at in ages if begun <= at <= ended + 1), default=0.0)
    before = max((age for age, at in ages if begun - 1 < at < begun), default=0.0)
    return Pauses(max(silences, default=0.0), during, before)


def check(effects: Sequence[Effect], placed: int) -> None:
    """0 lost, 0 double, per-key order kept, and both versions had a part in it."""
    for service in ("billing", "shipping"):
        by_customer: defaultdict[str, list[int]] = defaultdict(list)
        for each in effects:
            if each.service == service:
                by_customer[each.customer].append(each.what)
        assert len(by_customer) == CUSTOMERS
        assert all(found == list(range(placed)) for found in by_customer.values()), f"{service}: {by_customer}"
        assert {each.version for each in effects if each.service == service} == {1, 2}


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Callable[[str, str], Deploy]]:
    made: list[Deploy] = []

    def make(broker: str, store: str) -> Deploy:
        made.append(Deploy(tmp_path, broker, store))
        return made[-1]

    yield make
    for each in made:
        each.end()


def keeps_its_promises(deploy: Deploy) -> None:
    measured, placed = rolled(deploy)
    check(deploy.effects(), placed)
    for service, found in measured.items():
        print(
            f"{deploy.broker.partition(':')[0]}, {service}: nothing handled for {found.silence * 1000:.0f} ms at most; "
            f"an order {found.oldest * 1000:.0f} ms old at most, {found.usually * 1000:.0f} ms before the deploy"
        )


def test_a_rolling_deploy_on_the_embedded_log(deploy: Callable[[str, str], Deploy], tmp_path: Path) -> None:
    keeps_its_promises(deploy(f"embedded:///{tmp_path}/log.db", f"sqlite:///{tmp_path}/log.db"))


def test_a_rolling_deploy_on_postgresql(deploy: Callable[[str, str], Deploy], postgres_url: str) -> None:
    keeps_its_promises(deploy(postgres_url, postgres_url))


@pytest.mark.at_length
@pytest.mark.parametrize("kind", ["kafka", "nats", "valkey", "rabbitmq", "rabbitmq-streams"])
def test_a_rolling_deploy_on_each_server(
    deploy: Callable[[str, str], Deploy], tmp_path: Path, server_url: Callable[[str], str], kind: str
) -> None:
    keeps_its_promises(deploy(server_url(kind), f"sqlite:///{tmp_path}/store.db"))
