"""The rules file comes out as text, JSON or a file, and wrong thresholds are answered in one line."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from antiphon.events.amounts import show_duration
from antiphon.observability.alerts import alerts
from antiphon.observability.promql import Asking
from antiphon.observability.rules import make_rules, render_rules
from antiphon.observability.thresholds import Thresholds

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "alerts.md"


def test_text_json_and_file_say_the_same(ask):
    printed, as_json = ask("alerts"), ask("alerts", "--json")
    written = ask("alerts", "--output", "antiphon.yml")
    assert printed.stdout == render_rules(make_rules()) == (ask.folder / "antiphon.yml").read_text()
    assert json.loads(as_json.stdout) == msgspec.to_builtins(make_rules())
    assert (written.stdout, written.stderr) == ("", "antiphon.yml: 31 rules\n")


def test_a_file_that_is_there_is_written_anew(ask):
    (ask.folder / "antiphon.yml").write_text("x" * 100_000)
    assert ask("alerts", "--output", "antiphon.yml").returncode == 0
    assert (ask.folder / "antiphon.yml").read_text() == render_rules(make_rules())


def test_options_change_thresholds_labels_and_addresses(ask):
    done = ask("alerts", "--set", "topic-paused=2h", "--by", "cluster", "--runbooks", "http://wiki/alerts")
    assert re.search(r"by \(job, cluster, .*antiphon_topic_paused\) > 0'\n +for: '2h'", done.stdout)
    assert "'http://wiki/alerts#antiphontopicpaused'" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "lag"], "'lag': write NAME=VALUE, as in lag=10m"),
        (["--set", "lagg=5m"], "there is no threshold 'lagg'; did you mean 'lag'?"),
        (["--set", "zzz=1"], "there is no threshold 'zzz'; they are window, publish_failures,"),
        (["--set", "lag=10"], "'lag=10': a duration is a number and a unit of us, ms, s, m, h, d or w"),
        (["--set", "lag="], "'lag=': a duration is a number and a unit"),
        (["--set", "least_runs=1.5"], "'least_runs=1.5': it must be a whole number"),
        (["--set", "error_ratio=many"], "'error_ratio=many': it must be a number"),
        (["--set", "error_ratio=5"], "the threshold error_ratio was given 5.0: it must be below 1"),
        (["--set", "lag=5m", "--set", "lag=6m"], "'lag=6m': the threshold 'lag' is given twice"),
        (["--by", "a-b"], "'a-b' is no name for a label"),
        (["--runbooks", "a b"], "'a b' is no address of a page"),
        (["--output", "no/such/folder.yml"], "no/such/folder.yml cannot be written: No such file or directory"),
    ],
)
def test_wrong_input_is_answered_in_one_line_and_nothing_is_written(ask, arguments, told):
    done = ask("alerts", *arguments, *(() if "--output" in arguments else ("--output", "antiphon.yml")))
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (ask.folder / "antiphon.yml").exists()


def test_the_page_speaks_of_every_alert_and_its_severity():
    found = re.findall(r"^### (\w+)\n\n(\w+)\.", PAGE.read_text("utf-8"), re.MULTILINE)
    told = [
        (alert.name, alert.severity.capitalize()) for alert in alerts(Thresholds(), Asking(window=Thresholds().window))
    ]
    assert found == told


def test_the_page_lists_every_threshold_with_its_default():
    found = re.findall(r"^\| `(\w+)` \| (\S+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    values = msgspec.structs.asdict(Thresholds()).items()
    assert found == [
        (name, str(value) if isinstance(value, int | float) else show_duration(value)) for name, value in values
    ]
