"""What tests share: one real server of each kind for the whole run, and what lets them run in several processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import settings

from antiphon.events.ids import new_id
from antiphon.testing.servers import ServerMissingError, shared_server

Server = Callable[[str], str]
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")  # a busy machine fails no property


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Server]:
    """The URL of the one server of a kind, which ends when the last process of the run has.

    `rabbitmq-streams` is that of `rabbitmq`, with topics that are streams.
    """
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):  # one of several processes, each with a folder inside the run's own
        folder = folder.parent
    with ExitStack() as running:

        def url(kind: str) -> str:
            if kind == "rabbitmq-streams":
                return url("rabbitmq").replace("rabbitmq:", f"{kind}:", 1)
            return running.enter_context(shared_server(kind, folder / kind))

        yield url


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    return (yield from _skipped_without_its_server())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    return (yield from _skipped_without_its_server())


def _skipped_without_its_server() -> Generator[None, object, object]:
    try:
        return (yield)
    except ServerMissingError as error:
        if "CI" in os.environ:  # there it must be installed
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres_server(server_url: Server) -> str:
    return server_url("postgres")


@pytest.fixture(scope="session")
def valkey_server(server_url: Server) -> str:
    return server_url("valkey")


@pytest.fixture(scope="session")
def redis_server(server_url: Server) -> str:
    return server_url("redis")


@pytest.fixture(scope="session")
def nats_server(server_url: Server) -> str:
    return server_url("nats")


@pytest.fixture(scope="session")
def rabbitmq_server(server_url: Server) -> str:
    return server_url("rabbitmq")


@pytest.fixture(scope="session")
def kafka_server(server_url: Server) -> str:
    return server_url("kafka")


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The URL of a store that nobody else uses; its schema is made by the first migration."""
    return f"{postgres_server}?schema=test_{new_id().replace('-', '')}"


SERVERS = ("kafka", "nats", "postgres_broker", "rabbitmq", "rabbitmq_streams", "redis")
AT_LENGTH = (
    "tests/integration/tls/",
    *(f"tests/integration/{server}/" for server in SERVERS),
    *(f"tests/conformance/test_scenarios_{server.removesuffix('_broker')}.py" for server in SERVERS),
    "tests/conformance/test_kafka.py::TestKafkaWithGroupsOfTheCluster",
    "tests/conformance/test_kafka.py::TestKafka::test_a_thousand_destinations_cost_nothing_but_their_messages",
)
"""What takes long, since it waits for servers."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(AT_LENGTH):
            item.add_marker(pytest.mark.at_length)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # Some tests log what no UTF-8 can hold, and the pipe between the processes takes nothing else.
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
