"""How fast dead letters are sent again is said as a rate, and means how far apart they are."""

from datetime import timedelta

import pytest

from antiphon.cli.dead_letters.retrying import spacing_of
from antiphon.errors import UsageError


@pytest.mark.parametrize(
    ("rate", "spacing"),
    [
        ("10/s", timedelta(milliseconds=100)),
        ("600/m", timedelta(milliseconds=100)),
        (" 1/h ", timedelta(hours=1)),
        ("unlimited", timedelta()),
        ("2000000/s", timedelta()),
    ],
)
def test_a_rate_says_how_far_apart_letters_are(rate, spacing):
    assert spacing_of(rate) == spacing


@pytest.mark.parametrize("rate", ["", "10", "0/s", "-1/s", "1.5/s", "10/d", "s/10", "fast"])
def test_what_is_no_rate_is_refused_with_how_one_is_written(rate):
    with pytest.raises(UsageError, match="write 10/s, 600/m, 100/h, or unlimited"):
        spacing_of(rate)
