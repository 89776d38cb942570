"""Whether the reference names everything there is, and nothing else."""

import re
from pathlib import Path

from antiphon.cli.failures import ExitCode
from antiphon.cli.main import Commands
from antiphon.observability.names import DEFINITIONS, LABELS
from antiphon.observability.prometheus import prometheus_name
from antiphon.runtime.setting_values import SERVICE, TOP, TOPIC

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


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
