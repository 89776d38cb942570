"""What running services promise on every broker, as suites for the tests of whoever implements one."""

from antiphon.testing.scenarios.committing import CommitScenarios
from antiphon.testing.scenarios.draining import DrainScenarios
from antiphon.testing.scenarios.failing import FailureScenarios
from antiphon.testing.scenarios.handling import HandlingScenarios
from antiphon.testing.scenarios.misusing import MisuseScenarios
from antiphon.testing.scenarios.ordering import OrderScenarios
from antiphon.testing.scenarios.patience import PatienceScenarios
from antiphon.testing.scenarios.replaying import ReplayScenarios
from antiphon.testing.scenarios.transacting import TransactionScenarios
from antiphon.testing.scenarios.versions import VersionScenarios

__all__ = [
    "CommitScenarios",
    "DrainScenarios",
    "FailureScenarios",
    "HandlingScenarios",
    "MisuseScenarios",
    "OrderScenarios",
    "PatienceScenarios",
    "ReplayScenarios",
    "TransactionScenarios",
    "VersionScenarios",
]
