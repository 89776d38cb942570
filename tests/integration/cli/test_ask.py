"""Asking from the command line: a reply, a failure, and nobody who answers."""

from __future__ import annotations

import json

import pytest

EVENTS = """
from antiphon import Key, Struct, event

@event(topic="questions")
class AskPrice(Struct, frozen=True):
    product: Key[str]
    amount: int = 1

@event(topic="quotes")
class Price(Struct, frozen=True):
    product: Key[str]
    pence: int
"""
SERVICE = """
from antiphon import RejectError, Service
from catalog.events import AskPrice, Price

catalog = Service("catalog")

@catalog.answers(AskPrice)
async def quote(ask: AskPrice) -> Price:
    if ask.product != "tea":
        raise RejectError("no such product: " + ask.product)
    return Price(ask.product, 340 * ask.amount)
"""


@pytest.fixture
def catalog(ask, project):
    package = project / "catalog"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "events.py").write_text(EVENTS)
    (package / "service.py").write_text(SERVICE)
    return ask


QUESTION = ("ask", "AskPrice", "product=tea", "amount=2", "-m", "catalog.service")


def test_a_reply_is_printed_and_a_failure_is_told(antiphon, catalog):
    antiphon.start("run", "catalog.service")
    antiphon.wait_for("running catalog")
    done = catalog(*QUESTION)
    assert (done.returncode, done.stdout) == (0, 'Price from catalog\n{"product":"tea","pence":680}\n'), done.stderr
    shown = json.loads(catalog(*QUESTION, "--json").stdout)
    assert shown["data"] == {"product": "tea", "pence": 680}
    assert (shown["type"], shown["source"]) == ("Price", "catalog")
    done = catalog("ask", "AskPrice", "product=wine", "-m", "catalog.service")
    assert (done.returncode, done.stdout) == (1, "")
    assert "RejectError: no such product: wine" in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_who_answers_is_told_after_the_time_that_was_given(catalog):
    catalog("publish", "AskPrice", "product=tea", "-m", "catalog.service")
    done = catalog(*QUESTION, "--within", "200ms")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nobody reads its topic 'questions'" in done.stderr


@pytest.mark.at_length
def test_who_asked_on_kafka_is_no_group_of_the_list_afterwards(catalog, kafka_server):
    there = ("--broker", kafka_server)
    asked = catalog(*QUESTION, "--within", "1s", *there)
    assert "nobody reads its topic 'questions'" in asked.stderr
    listed = catalog("groups", *there)
    assert listed.returncode == 0, listed.stderr
    assert "antiphon.replies" not in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--within", "soon"), "--within soon: say a duration"),
        (("--within", "0s"), "--within 0s: say how long to wait"),
        (("colour=red",), "has no field 'colour'"),
    ],
)
def test_a_question_that_cannot_be_meant_is_refused(catalog, arguments, told):
    done = catalog(*QUESTION, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
