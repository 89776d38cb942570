"""What do the texts in a file of orders mean: amounts, quantities, dates, names?"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal

from examples.shop.refusals import Reason, RefusedError, shown

MOST_POUNDS = Decimal(1_000_000)
MOST_PIECES = 1_000_000
LONGEST_NAME = 64

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_NAME = re.compile(r"[\w .,/&+'-]+")
_DATES = ("%Y-%m-%d", "%m/%d/%y %H:%M", "%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S")


def number(text: str, most: Decimal) -> Decimal:
    """A number that is neither negative nor above `most`. Raises RefusedError."""
    if len(text) > LONGEST_NAME or not _NUMBER.fullmatch(text):
        raise RefusedError(Reason.NOT_A_NUMBER, shown(text))
    value = Decimal(text)
    if value < 0:
        raise RefusedError(Reason.NEGATIVE, shown(text))
    if value > most:
        raise RefusedError(Reason.ABSURD, f"{shown(text)} is above {most}")
    return value


def pence(pounds: Decimal) -> int:
    """Pounds in whole pence, halves away from zero, so the dust of binary fractions (22.200000000000003) is gone."""
    return int((pounds * 100).quantize(Decimal(1), ROUND_HALF_UP))


def total(text: str) -> int:
    """The total of an order, in pence. Raises RefusedError when there is nothing to pay."""
    amount = pence(number(text, MOST_POUNDS))
    if amount == 0:
        raise RefusedError(Reason.NOTHING, f"{shown(text)} is less than a penny")
    return amount


def pieces(text: str) -> int:
    """How many pieces. Raises RefusedError for none, a fraction or too many."""
    value = number(text, Decimal(MOST_PIECES))
    if value == 0:
        raise RefusedError(Reason.NOTHING, f"{shown(text)} pieces")
    if value != value.to_integral_value():
        raise RefusedError(Reason.NOT_A_NUMBER, f"{shown(text)} is no whole number of pieces")
    return int(value)


def day(text: str) -> date:
    """The day of a date, with or without a time, as ISO 8601 or as month/day/year. Raises RefusedError."""
    for form in _DATES:
        try:
            found = datetime.strptime(text, form).date()  # noqa: DTZ007 - only the day is kept
        except ValueError:
            continue
        if 1990 <= found.year <= 2100:
            return found
    raise RefusedError(Reason.BAD_DATE, shown(text))


def name(text: str) -> str:
    """A short printable name: an invoice, a customer, a product. Raises RefusedError."""
    if not text or len(text) > LONGEST_NAME or not _NAME.fullmatch(text):
        raise RefusedError(Reason.BAD_TEXT, shown(text))
    return text


def invoice(text: str) -> str:
    """The number of an invoice that is an order. Raises RefusedError for a return, whose number begins with C."""
    if text[:1] in ("C", "c"):
        raise RefusedError(Reason.RETURN, shown(text))
    return name(text)


def customer(text: str) -> str:
    """Who ordered; tools that take it for a number write 17850 as 17850.0. Raises RefusedError."""
    if not text:
        raise RefusedError(Reason.NO_CUSTOMER, "the field is empty")
    return name(text.removesuffix(".0"))
