"""What comes next for a redrive follows from how it stands and what time it is, and from nothing else."""

from datetime import UTC, datetime, timedelta

import pytest

from antiphon.deadletters.pacing import AHEAD, AT_ONCE, MOST_UNDER_WAY, Finish, Go, Stop, Wait, next_step
from antiphon.storage.redrives import Redrive, RedriveStatus, Standing

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def standing(waiting=0, under_way=0, failed=0, **fields):
    values = {
        "id": "r",
        "started_at": NOW,
        "started_by": "ada",
        "total": 100,
        "spacing": timedelta(),
        "next_at": NOW,
        "stop_after": 3,
    }
    return Standing(Redrive(**(values | fields)), waiting, under_way, failed)


def test_all_that_waits_is_released_at_once_where_nothing_spaces_it():
    assert next_step(standing(waiting=40), NOW) == Go(40, NOW)


def test_no_transaction_releases_more_than_a_batch():
    assert next_step(standing(waiting=10 * AT_ONCE), NOW) == Go(AT_ONCE, NOW)


def test_no_more_are_on_their_way_than_can_still_be_stopped():
    assert next_step(standing(waiting=40, under_way=MOST_UNDER_WAY - 3, released=9), NOW) == Go(3, NOW)
    assert next_step(standing(waiting=40, under_way=MOST_UNDER_WAY, released=9), NOW) == Wait()


def test_spaced_letters_are_released_when_they_are_due_soon():
    spacing = AHEAD / 4
    assert next_step(standing(waiting=40, spacing=spacing), NOW) == Go(5, NOW)
    assert next_step(standing(waiting=3, spacing=spacing), NOW) == Go(3, NOW)


def test_what_is_due_later_waits():
    later = NOW + AHEAD + timedelta(milliseconds=1)
    assert next_step(standing(waiting=40, spacing=AHEAD, next_at=later), NOW) == Wait()


def test_time_that_was_missed_is_not_made_up_for():
    assert next_step(standing(waiting=40, spacing=AHEAD, next_at=NOW - timedelta(hours=1)), NOW) == Go(2, NOW)


def test_canaries_go_first_and_the_rest_waits_for_all_of_them():
    waiting = {"canaries": 2, "canaries_until": 2}
    assert next_step(standing(waiting=40, **waiting), NOW) == Go(2, NOW)
    assert next_step(standing(waiting=38, under_way=1, released=2, **waiting), NOW) == Wait()
    assert next_step(standing(waiting=38, released=2, **waiting), NOW) == Go(38, NOW)


def test_more_canaries_than_letters_are_all_of_them():
    assert next_step(standing(waiting=2, canaries=9, canaries_until=9), NOW) == Go(2, NOW)


def test_one_canary_that_failed_again_stops_it():
    step = next_step(standing(waiting=38, under_way=1, failed=1, released=2, canaries=2, canaries_until=2), NOW)
    assert step == Stop("1 canary failed again")


def test_it_stops_after_so_many_failures_and_not_before():
    assert next_step(standing(waiting=5, failed=2, released=50), NOW) == Go(5, NOW)
    assert next_step(standing(waiting=5, failed=3, released=50), NOW) == Stop("3 letters failed again")


def test_what_is_on_its_way_can_be_stopped_when_nothing_waits_any_more():
    assert next_step(standing(under_way=5, failed=3, released=8), NOW) == Stop("3 letters failed again")


def test_failures_before_it_was_resumed_do_not_stop_it_again():
    assert next_step(standing(waiting=5, failed=3, failures_before=3, released=50), NOW) == Go(5, NOW)


def test_it_ends_when_nothing_waits_or_is_on_its_way_whatever_failed():
    assert next_step(standing(failed=3, released=100), NOW) == Finish()
    assert next_step(standing(under_way=1, released=100), NOW) == Wait()


@pytest.mark.parametrize("status", [RedriveStatus.STOPPED, RedriveStatus.DONE])
def test_one_that_does_not_run_has_nothing_to_do(status):
    assert next_step(standing(waiting=40, status=status), NOW) == Wait()
