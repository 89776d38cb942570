"""What a service says while it runs: one line for each thing, for a person on a terminal, as JSON elsewhere.

Lines carry service, handler, message id, correlation id and attempt, and never a payload. Nothing here touches
the root logger unless `configure_logging` is called, which only a program that owns its process does.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

import msgspec

from antiphon.events.discretion import hide_values
from antiphon.observability.context import current_fields
from antiphon.observability.repeats import RepeatLimit, fingerprint

Field = str | int | float | bool | None
CONTEXT_FIELDS = ("service", "handler", "message_id", "correlation_id", "attempt")
_STANDARD = frozenset(
    {*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime", "taskName", "repeats", "antiphon"}
)
_COLORS = {"DEBUG": "2", "INFO": "36", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


class ContextFilter(logging.Filter):
    """Stamps each record with what is being handled, and hides values of statements in errors that it tells.

    Add it to a handler of your own to have that in your lines.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "antiphon"):
            record.antiphon = current_fields()
        args = record.args if isinstance(record.args, tuple) else ()
        for each in (*args, *(record.exc_info or ())):
            if isinstance(each, BaseException):
                hide_values(each)
        return True


class RepeatFilter(logging.Filter):
    """Lets the first few of a repeated warning or error through, then one a minute that says how many were left out."""

    def __init__(self, limit: RepeatLimit | None = None) -> None:
        super().__init__()
        self._limit = limit or RepeatLimit()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or hasattr(record, "repeats"):
            return True
        repeats = self._limit.admit(_fingerprint(record))
        if repeats is None:
            return False
        record.repeats = repeats
        return True


def _fingerprint(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    told = fingerprint(error) if error is not None else ""
    fields = record_fields(record)
    return f"{record.name}:{record.levelno}:{record.msg}:{fields.get('handler')}:{fields.get('reason')}:{told}"


def service_logger(service: str, limit: RepeatLimit | None = None) -> logging.Logger:
    """The logger `antiphon.service.<service>`, its repeated errors limited. Calling it again begins a new limit."""
    logger = logging.getLogger(f"antiphon.service.{service}")
    for old in list(logger.filters):
        logger.removeFilter(old)
    logger.addFilter(ContextFilter())
    logger.addFilter(RepeatFilter(limit))
    return logger


def record_fields(record: logging.LogRecord) -> dict[str, Field]:
    """What a record says besides its text: the context, and what `extra=` gave (plain values only)."""
    stamped: Mapping[str, Field] = getattr(record, "antiphon", {})
    extra = {name: _plain(value) for name, value in vars(record).items() if name not in _STANDARD}
    fields = {**stamped, **extra}
    ordered = [name for name in CONTEXT_FIELDS if name in fields]
    return {name: fields[name] for name in (*ordered, *(name for name in fields if name not in CONTEXT_FIELDS))}


def _plain(value: object) -> Field:
    """Anything that is not a plain value is named by its type only: it might hold a payload."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return value.isoformat() if isinstance(value, datetime) else f"<{type(value).__name__}>"


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **record_fields(record),
        }
        if getattr(record, "repeats", 0):
            line["left_out"] = vars(record)["repeats"]
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = _told(record.exc_info[1])
        return msgspec.json.encode(line).decode()


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _told(error: BaseException) -> dict[str, str]:
    return {
        "type": type(error).__qualname__,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


class ReadableLines(logging.Formatter):
    """For a person: time, level, who, what, and then the rest."""

    def __init__(self, *, color: bool = False) -> None:
        super().__init__()
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        fields = record_fields(record)
        who = "/".join(str(fields.pop(name)) for name in ("service", "handler") if name in fields) or record.name
        rest = " ".join(f"{name}={value}" for name, value in fields.items())
        repeats = getattr(record, "repeats", 0)
        left_out = f" ({repeats} more like it left out)" if repeats else ""
        when = _time(record).astimezone().strftime("%H:%M:%S.%f")[:-3]
        level = self._paint(record.levelname)
        text = f"{when} {level} {who}: {record.getMessage()}{left_out}" + (f"  [{rest}]" if rest else "")
        if record.exc_info and record.exc_info[1] is not None:
            text += "\n" + "".join(traceback.format_exception(record.exc_info[1])).rstrip()
        return text

    def _paint(self, level: str) -> str:
        padded = f"{level:<7}"
        return f"\x1b[{_COLORS[level]}m{padded}\x1b[0m" if self._color and level in _COLORS else padded


def configure_logging(level: int = logging.INFO, stream: TextIO | None = None, *, json: bool | None = None) -> None:
    """Send everything of this process to `stream` (standard error): readable on a terminal, else JSON lines.

    It replaces the root logger's handlers, so only a program that owns its process calls it. Twice is safe.
    """
    out = stream if stream is not None else sys.stderr
    on_terminal = out.isatty()
    handler = logging.StreamHandler(out)
    handler.addFilter(ContextFilter())
    handler.addFilter(RepeatFilter())
    as_json = not on_terminal if json is None else json
    handler.setFormatter(JsonLines() if as_json else ReadableLines(color=on_terminal))
    logging.basicConfig(level=level, handlers=[handler], force=True)
