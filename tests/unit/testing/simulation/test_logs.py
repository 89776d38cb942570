"""What a simulation logs is left out, and nobody else's lines are."""

import logging
import threading

import pytest

from antiphon.testing.simulation.logs import quiet


def say(name: str, line: str) -> None:
    logging.getLogger(name).warning(line)


def test_lines_of_this_thread_are_left_out_and_others_are_not(caplog: pytest.LogCaptureFixture) -> None:
    with quiet():
        say("antiphon.runtime", "simulated")
        say("asyncio", "simulated")
        say("ledger", "the user's own")
        other = threading.Thread(target=say, args=("antiphon.runtime", "of another thread"))
        other.start()
        other.join()
    say("antiphon.runtime", "afterwards")
    assert caplog.messages == ["the user's own", "of another thread", "afterwards"]
