"""What of a running service is left to chance, and how is that taken out of it, so that a run can be repeated?"""

from __future__ import annotations

import random
from collections.abc import Callable
from time import perf_counter

from msgspec import Struct


class Chance(Struct, frozen=True, kw_only=True):
    """What differs from one run to the next.

    `draw` gives a random number from 0 to 1, for jitter. `lane_of` gives a number for a key or a partition: those of
    one number share a lane. `stopwatch` gives seconds, to measure how long something took.
    """

    draw: Callable[[], float] = random.random
    lane_of: Callable[[object], int] = hash
    stopwatch: Callable[[], float] = perf_counter
