"""What running services promise on every broker, as suites for the tests of whoever implements one."""

from antiphon.testing.scenarios.answering import AnswerScenarios
from antiphon.testing.scenarios.asking import AskScenarios
from antiphon.testing.scenarios.committing import CommitScenarios
from antiphon.testing.scenarios.deadlines import DeadlineScenarios
from antiphon.testing.scenarios.draining import DrainScenarios
from antiphon.testing.scenarios.failing import FailureScenarios
from antiphon.testing.scenarios.giving_back import GivingBackScenarios
from antiphon.testing.scenarios.handling import HandlingScenarios
from antiphon.testing.scenarios.keeping_order import KeptOrderScenarios
from antiphon.testing.scenarios.limiting import LimitScenarios
from antiphon.testing.scenarios.misusing import MisuseScenarios
from antiphon.testing.scenarios.naming import NamingScenarios
from antiphon.testing.scenarios.ordering import OrderScenarios
from antiphon.testing.scenarios.outages import OutageScenarios
from antiphon.testing.scenarios.patience import PatienceScenarios
from antiphon.testing.scenarios.redriving import RedriveScenarios
from antiphon.testing.scenarios.replaying import ReplayScenarios
from antiphon.testing.scenarios.retrying import RetryScenarios
from antiphon.testing.scenarios.scheduling import SchedulingScenarios
from antiphon.testing.scenarios.settling_first import SettlingFirstScenarios
from antiphon.testing.scenarios.stopping import StoppingScenarios
from antiphon.testing.scenarios.transacting import TransactionScenarios
from antiphon.testing.scenarios.versions import VersionScenarios
from antiphon.testing.scenarios.with_watermark import WithWatermarkScenarios

__all__ = [
    "AnswerScenarios",
    "AskScenarios",
    "CommitScenarios",
    "DeadlineScenarios",
    "DrainScenarios",
    "FailureScenarios",
    "GivingBackScenarios",
    "HandlingScenarios",
    "KeptOrderScenarios",
    "LimitScenarios",
    "MisuseScenarios",
    "NamingScenarios",
    "OrderScenarios",
    "OutageScenarios",
    "PatienceScenarios",
    "RedriveScenarios",
    "ReplayScenarios",
    "RetryScenarios",
    "SchedulingScenarios",
    "SettlingFirstScenarios",
    "StoppingScenarios",
    "TransactionScenarios",
    "VersionScenarios",
    "WithWatermarkScenarios",
]
