"""Whether what was measured is judged, shown and kept as it was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.measure import Check, Measurement, Runs, at_least, at_most, report
from benchmarks.results import keep, table

PAGE = "# Results\n\n<!-- measured -->\n<!-- end -->\n\nThe end.\n"


def measurement(name: str, got: float) -> Measurement:
    return Measurement(name, "messages/s", 1_000.0 * got, 1_000.0, None, [at_least("ours / twin", got, 0.5)])


def test_a_target_is_held_at_its_limit_and_missed_beyond_it() -> None:
    assert at_least("ratio", 0.5, 0.5) == Check("ratio", ">= 0.5 x", 0.5, holds=True)
    assert not at_least("ratio", 0.4999, 0.5).holds
    assert at_most("p99", 10.0, 10, "ms").holds
    assert not at_most("p99", 10.001, 10, "ms").holds


def test_sides_are_compared_by_their_medians() -> None:
    runs = Runs({"ours": [{"value": 1.0}, {"value": 9.0}, {"value": 3.0}], "twin": [{"value": 6.0}]})
    assert runs.median("ours") == 3
    assert runs.ratio("twin") == 0.5
    assert runs.maybe("peer") is None


def test_a_miss_is_shown_as_a_miss() -> None:
    assert "| 0.4 | **no** |" in table([measurement("publish", 0.4)])
    assert "| 0.6 | yes |" in table([measurement("publish", 0.6)])


def test_keeping_replaces_what_was_measured_again_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    page.write_text(PAGE, "utf-8")
    keep([measurement("publish", 0.6), measurement("consume", 0.7)], page)
    keep([measurement("publish", 0.4)], page)
    text = page.read_text("utf-8")
    assert "| publish | 400 messages/s | 1,000 | - | ours / twin | >= 0.5 x | 0.4 | **no** |" in text
    assert "| consume | 700 messages/s | 1,000 | - | ours / twin | >= 0.5 x | 0.7 | yes |" in text
    assert text.count("| publish |") == 1
    assert text.startswith("# Results\n")
    assert text.endswith("The end.\n")


def test_a_side_that_did_not_do_all_of_the_work_has_no_figures() -> None:
    with pytest.raises(SystemExit, match="99 of 100"):
        report(100, 1.0, done=99)
