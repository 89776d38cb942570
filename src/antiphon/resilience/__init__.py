"""What to do when it fails: decisions without I/O."""

from antiphon.resilience.breaker import Breaker, Circuit, CircuitState, Permit
from antiphon.resilience.calls import Turns, retrying
from antiphon.resilience.policy import AT_ONCE, Decision, Fault, Retry, Step
from antiphon.resilience.rate_limit import Rate, RateLimit

__all__ = [
    "AT_ONCE",
    "Breaker",
    "Circuit",
    "CircuitState",
    "Decision",
    "Fault",
    "Permit",
    "Rate",
    "RateLimit",
    "Retry",
    "Step",
    "Turns",
    "retrying",
]
