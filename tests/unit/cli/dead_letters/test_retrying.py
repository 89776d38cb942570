"""How fast dead letters are sent again is said as a rate, and who sends them as it is."""

from datetime import UTC, datetime, timedelta

import pytest

from antiphon.cli.dead_letters.retrying import spacing_of, who_goes_on
from antiphon.deadletters.serving import Serving
from antiphon.errors import UsageError
from antiphon.storage.redrives import Redrive, Standing

NOW = datetime(2026, 1, 1, tzinfo=UTC)


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


@pytest.mark.parametrize(
    ("waiting", "serving", "told"),
    [
        (2, Serving(["mail"], []), "running services go on with it"),
        (2, Serving([], ["mail"]), "no service of mail runs: it begins when one starts"),
        (1, Serving([], ["mail", "shop"]), "no service of mail, shop runs: it goes on when one starts"),
        (
            2,
            Serving(["mail"], ["shop"]),
            "running services go on with it; no service of shop runs: its part begins when one starts",
        ),
        (2, Serving([], ["@outbox"]), "no relay runs: it begins when one starts"),
        (2, Serving([], ["@outbox", "mail"]), "no service of mail and no relay runs: it begins when one starts"),
    ],
)
def test_who_goes_on_with_a_redrive_is_told_as_it_is(waiting, serving, told):
    redrive = Redrive(
        id="r1", started_at=NOW, started_by="ada", total=2, spacing=timedelta(), next_at=NOW, stop_after=3
    )
    assert who_goes_on(Standing(redrive, waiting, 0, 0), serving) == told
