"""Hooks watch; they cannot change what happens."""

import logging

from antiphon.observability import names
from antiphon.observability.hooks import Hooks, StateChanged
from antiphon.observability.metrics import Metrics

STARTED = StateChanged("payments", "started")


def test_a_hook_is_false_until_somebody_watches():
    hooks = Hooks(Metrics())
    assert not hooks.state_changed
    hooks.state_changed.watch(print)
    assert hooks.state_changed


def test_every_observer_is_told_even_after_one_that_fails(caplog):
    metrics = Metrics()
    hooks, seen = Hooks(metrics), []

    @hooks.state_changed.watch
    def broken(fact):
        raise RuntimeError("boom")

    hooks.state_changed.watch(seen.append)
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            hooks.state_changed(STARTED)
    assert seen == [STARTED] * 5
    assert metrics.total(names.HOOK_FAILURES) == 5
    assert len(caplog.records) == 1
    assert "broken" in caplog.text
