"""Log lines say who, what and which message, never a payload, and not a thousand times."""

import io
import json
import logging
from datetime import UTC, datetime, timedelta

import pytest

from antiphon.events.message import Message
from antiphon.observability import context
from antiphon.observability.logging import (
    ContextFilter,
    JsonLines,
    ReadableLines,
    RepeatFilter,
    configure_logging,
    service_logger,
)
from antiphon.observability.repeats import RepeatLimit, fingerprint

MESSAGE = Message(
    id="m-1", type="OrderPlaced", time=datetime(2026, 1, 1, tzinfo=UTC), data=b"secret", correlation_id="c"
)


@pytest.fixture
def lines():
    """A logger of its own, and what it wrote."""
    out, logger = io.StringIO(), logging.Logger("shop.orders")  # noqa: LOG001 - nothing of it outlives the test
    handler = logging.StreamHandler(out)
    handler.addFilter(ContextFilter())
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    return logger, lambda: [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.fixture
def handling():
    context.enter((context.Scope("payments", "authorise"), MESSAGE, 2))
    yield
    context.leave()


@pytest.fixture
def untouched_root():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    root.handlers[:], root.level = handlers, level


def test_a_users_own_line_says_which_message_was_in_hand(lines, handling):
    logger, written = lines
    logger.info("charged %s", "EUR")
    (line,) = written()
    expected = {
        "service": "payments",
        "handler": "authorise",
        "message_id": "m-1",
        "correlation_id": "c",
        "attempt": 2,
        "level": "info",
        "logger": "shop.orders",
        "message": "charged EUR",
    }
    assert expected.items() <= line.items()
    assert datetime.fromisoformat(line["time"]).tzinfo is not None


def test_a_line_outside_of_handlers_names_no_message(lines):
    logger, written = lines
    logger.info("ready")
    assert "message_id" not in written()[0]


def test_what_is_no_plain_value_is_named_by_its_type_only(lines):
    logger, written = lines
    logger.info("got", extra={"event": MESSAGE, "raw": b"secret", "size": 3})
    (line,) = written()
    assert (line["event"], line["raw"], line["size"]) == ("<Message>", "<bytes>", 3)
    assert "secret" not in json.dumps(line)


def test_an_error_carries_its_type_text_and_traceback(lines):
    logger, written = lines
    try:
        raise ValueError("no such order")
    except ValueError:
        logger.exception("failed")
    error = written()[0]["error"]
    assert (error["type"], error["message"]) == ("ValueError", "no such order")
    assert "test_logging.py" in error["traceback"]


def test_one_record_is_always_one_line(lines):
    logger, written = lines
    logger.warning("two\nlines")
    assert written()[0]["message"] == "two\nlines"


def test_the_readable_form_begins_with_who_and_what(handling):
    record = logging.LogRecord("x", logging.WARNING, "f.py", 1, "slow: %d ms", (7,), None)
    ContextFilter().filter(record)
    text = ReadableLines().format(record)
    assert "WARNING payments/authorise: slow: 7 ms  [message_id=m-1 correlation_id=c attempt=2]" in text


def _failing(limit):
    out, logger = io.StringIO(), logging.Logger("x")  # noqa: LOG001 - nothing of it outlives the test
    handler = logging.StreamHandler(out)
    handler.addFilter(RepeatFilter(limit))
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    return logger, lambda: [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_repeated_error_is_said_three_times_then_once_a_minute_with_a_count():
    now = [0.0]
    logger, written = _failing(RepeatLimit(monotonic=lambda: now[0]))
    for number in range(100):
        _log_failure(logger, number)
    assert len(written()) == 3
    now[0] = 60.0
    _log_failure(logger, 100)
    assert written()[-1]["left_out"] == 97


def _log_failure(logger, number):
    try:
        raise ValueError(f"order {number}")
    except ValueError:
        logger.exception("handler failed")


def test_another_error_is_not_held_back_by_the_first():
    logger, written = _failing(RepeatLimit(first=1, monotonic=lambda: 0.0))
    _log_failure(logger, 1)
    logger.error("something else")
    assert len(written()) == 2


def test_lines_below_warning_are_never_held_back():
    logger, written = _failing(RepeatLimit(first=1, monotonic=lambda: 0.0))
    for _ in range(5):
        logger.info("handled")
    assert len(written()) == 5


def test_a_line_let_through_by_the_services_limit_is_not_limited_again():
    record = logging.LogRecord("x", logging.ERROR, "f.py", 1, "same", (), None)
    record.repeats = 12
    strict = RepeatFilter(RepeatLimit(first=0, every=timedelta(hours=1)))
    assert strict.filter(record)
    assert record.repeats == 12


def test_the_fingerprint_is_the_class_and_the_line_not_the_text():
    def caught(text, kind=ValueError):
        try:
            raise kind(text)
        except (ValueError, KeyError) as error:
            return fingerprint(error)

    assert caught("order 1") == caught("order 2")
    assert caught("order 1") != caught("order 1", KeyError)


def test_the_limit_remembers_a_bounded_number_of_errors():
    limit = RepeatLimit(first=1, monotonic=lambda: 0.0, capacity=2)
    assert [limit.admit(name) for name in "abcca"] == [0, 0, 0, None, 0]


def test_a_service_logs_below_its_own_name_and_leaves_the_root_alone(untouched_root, handling):
    before = list(untouched_root.handlers)
    logger = service_logger("payments")
    assert logger.name == "antiphon.service.payments"
    assert logger.handlers == []
    assert untouched_root.handlers == before


def test_configuring_sends_json_lines_where_there_is_no_terminal(untouched_root, handling):
    out = io.StringIO()
    configure_logging(stream=out)
    configure_logging(stream=out)
    logging.getLogger("shop").info("once")
    (line,) = out.getvalue().splitlines()
    assert json.loads(line)["service"] == "payments"


def test_a_line_about_another_message_names_that_one_and_the_next_line_does_not(lines, handling):
    logger, written = lines
    other = Message(id="m-2", type="OrderPlaced", time=MESSAGE.time, data=None)
    with context.about(context.Scope("payments", "refund"), other, 4):
        logger.error("parked")
    logger.info("next")
    parked, following = written()
    assert (parked["message_id"], parked["handler"], parked["attempt"]) == ("m-2", "refund", 4)
    assert (following["message_id"], following["handler"]) == ("m-1", "authorise")
