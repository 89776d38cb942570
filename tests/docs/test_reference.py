"""Whether the reference names everything there is, and nothing else."""

import inspect
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from antiphon import Message, Outbox, errors
from antiphon.brokers import embedded, kafka, memory, nats, postgres, rabbitmq, redis
from antiphon.brokers.connect import connect
from antiphon.brokers.ports import Broker, TopicSpec
from antiphon.cli.failures import ExitCode
from antiphon.cli.main import Commands
from antiphon.errors import AntiphonError
from antiphon.events.amounts import duration
from antiphon.events.wire import to_binary, to_plain, to_structured
from antiphon.observability.names import DEFINITIONS, LABELS
from antiphon.observability.prometheus import prometheus_name
from antiphon.runtime.setting_values import SERVICE, TOP, TOPIC
from antiphon.runtime.settings import ServiceSettings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def rows(page: str, columns: int, after: str = "") -> list[tuple[str, ...]]:
    """The rows of a page's tables of so many columns, without code marks; those that follow the text `after`."""
    text = (REFERENCE / page).read_text("utf-8").partition(after)[2] if after else (REFERENCE / page).read_text("utf-8")
    lines = [line.strip("| ").replace("`", "") for line in text.splitlines()]
    found = [tuple(cell.strip() for cell in re.split(r" *\| ?", line)) for line in lines if " | " in line]
    return [row for row in found if len(row) == columns]


def first_cells(page: str) -> list[str]:
    """The first cell of every row of a page's tables, without their headings."""
    rows = re.findall(r"^\| (?!---)`?([^|`]+?)`? \|", (REFERENCE / page).read_text(), re.MULTILINE)
    return [cell for cell in rows if cell not in {"name", "form", "option", "code"}]


def test_every_command_has_its_heading() -> None:
    headings = re.findall(r"^## `antiphon ([\w-]+)", (REFERENCE / "cli.md").read_text(), re.MULTILINE)
    assert set(headings) == set(Commands.table)


def test_every_exit_code_is_documented() -> None:
    assert {int(cell) for cell in first_cells("cli.md") if cell.isdecimal()} == set(ExitCode)


def test_every_setting_is_documented() -> None:
    assert set(first_cells("settings.md")) == {*TOP, *SERVICE, *TOPIC}


def test_every_metric_is_documented_with_its_labels_and_what_it_says() -> None:
    text = (REFERENCE / "metrics.md").read_text()
    assert first_cells("metrics.md") == [prometheus_name(each) for each in DEFINITIONS]
    for definition in DEFINITIONS:
        labels = ", ".join(f"`{LABELS[label].replace('.', '_')}`" for label in definition.labels)
        assert f"| `{prometheus_name(definition)}` | {labels} | {definition.about}" in text


def test_every_default_of_a_setting_is_the_one_in_force() -> None:
    written = {row[0]: row[1] for row in rows("settings.md", 3)}
    defaults = {field.name: field.default for field in msgspec.structs.fields(ServiceSettings) if field.name in TOP}
    del defaults["broker"], defaults["store"]  # they depend on where the file is, and on the broker
    assert {name: TOP[name](written[name]) for name in defaults} == defaults
    assert written["broker"].startswith("embedded:///.antiphon/log.db")
    assert TOPIC["partitions"](written["partitions"]) == TopicSpec("any").partitions


def branch(error: type[AntiphonError]) -> str:
    """The direct child of the root that it belongs to: whose fault it is."""
    return next(cls.__name__ for cls in error.__mro__ if AntiphonError in cls.__bases__)


def test_every_error_is_documented_below_whose_fault_it_is() -> None:
    all_errors = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, AntiphonError)]
    expected = {
        (branch(each), each.__name__, "yes" if each.retryable else "no")
        for each in all_errors
        if each is not AntiphonError and AntiphonError not in each.__bases__
    }
    found = set[tuple[str, str, str]]()
    for section in re.split(r"^## ", (REFERENCE / "errors.md").read_text("utf-8"), flags=re.MULTILINE)[1:]:
        for name, retryable in re.findall(r"^\| `(\w+)` \| (yes|no) \| \S", section, re.MULTILINE):
            found.add((section[1:].partition("`")[0], name, retryable))
    assert found == expected


def shown(value: object) -> str:
    """A capability or a default as the pages write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


BROKERS = [
    ("brokers/embedded.md", ("embedded:///log.db",), embedded.from_address),
    ("brokers/kafka.md", ("kafka://localhost",), kafka.from_address),
    ("brokers/memory.md", ("memory:///", "memory:///?model=queue"), memory.from_address),
    ("brokers/postgresql.md", ("postgresql://h/d",), postgres.from_address),
    ("brokers/redis.md", ("redis://localhost",), redis.from_address),
    ("brokers/nats.md", ("nats://localhost",), nats.from_address),
    ("brokers/rabbitmq.md", ("rabbitmq://localhost",), rabbitmq.from_address),
    ("brokers/rabbitmq-streams.md", ("rabbitmq-streams://localhost",), rabbitmq.log_from_address),
]


@pytest.mark.parametrize(("page", "urls", "factory"), BROKERS, ids=[page for page, _, _ in BROKERS])
def test_a_broker_page_lists_its_capabilities_and_the_options_of_its_url(
    page: str, urls: tuple[str, ...], factory: Callable[..., Broker]
) -> None:
    records = [connect(url).capabilities for url in urls]
    names = records[0].__struct_fields__
    capabilities = {(name, *(shown(getattr(record, name)) for record in records)) for name in names}
    listed = {row for row in rows(page, 1 + len(urls), after="## Capabilities\n") if row[0].replace("_", "").isalpha()}
    assert {row for row in listed if row[0] != "capability"} == capabilities
    text = (REFERENCE / page).read_text("utf-8")
    options = dict(re.findall(r"^\| `(\w+)` \| `?(\w+)`? \|", text.partition("## Capabilities")[0], re.MULTILINE))
    known = {p.name: p.default for p in inspect.signature(factory).parameters.values() if p.kind is p.KEYWORD_ONLY}
    written = {
        name: duration(options[name]) if options.get(name, "").endswith("s") else options.get(name) for name in known
    }
    assert options.keys() == known.keys()
    assert written == {name: v if hasattr(v, "total_seconds") else shown(v) for name, v in known.items()}


FULL = Message(
    id="the-id",
    type="TheType",
    time=datetime(2026, 1, 2, tzinfo=UTC),
    data=b'{"the":"data"}',
    key="the-key",
    source="the-source",
    schema_version=7,
    content_type="text/json",
    correlation_id="the-story",
    causation_id="the-cause",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    tracestate="the=state",
    deadline=datetime(2026, 3, 4, tzinfo=UTC),
    tenant="the-tenant",
)


def test_the_page_of_wire_forms_names_every_field_as_it_is_written() -> None:
    structured, plain = msgspec.json.decode(to_structured(FULL)), msgspec.json.decode(to_plain(FULL))
    table = {row[0]: row[1:] for row in rows("wire.md", 3)}
    fields = set(Message.__struct_fields__) - {"extensions"}
    assert fields <= table.keys()
    assert {table[field][0] for field in fields} | {"specversion"} == structured.keys()
    assert {table[field][1] for field in fields} == plain.keys()
    for field in fields - {"time", "deadline", "data", "traceparent", "tracestate"}:
        assert structured[table[field][0]] == plain[table[field][1]] == getattr(FULL, field)
    headers, _ = to_binary(FULL)
    assert {name.removeprefix("ce_") for name in headers} == structured.keys() - {"data", "datacontenttype"} | {
        "content-type"
    }


def test_everything_that_an_outbox_does_is_on_its_page() -> None:
    page = (REFERENCE.parent / "howto" / "adopt-the-outbox.md").read_text("utf-8")
    for name in (name for name, _ in inspect.getmembers(Outbox, inspect.isfunction) if not name.startswith("_")):
        assert re.search(rf"\b{name}\b", page), name
