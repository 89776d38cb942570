"""A rerun handles everything again, also what the group read anew before the marks were forgotten."""

import pytest

from antiphon import connect
from antiphon.brokers.ports import SeekTo
from antiphon.cli.groups import _rerun
from antiphon.cli.session import Place
from tests.integration.postgres.test_service import OrderPlaced, paying, running, until


class Eager:
    """A broker whose readers have read everything anew by the time that they were moved."""

    def __init__(self, broker, is_caught_up):
        self._broker, self._is_caught_up = broker, is_caught_up

    def __getattr__(self, name):
        return getattr(self._broker, name)

    async def seek(self, group, topic, to):
        await self._broker.seek(group, topic, to)
        await until(self._is_caught_up)


@pytest.fixture
async def brokers(tmp_path):
    """One as the service has it, one as an operator's process has it."""
    both = [connect(f"embedded:///{tmp_path}/log.db") for _ in range(2)]
    for broker in both:
        await broker.open()
    yield both
    for broker in both:
        await broker.close()


async def test_what_is_read_again_before_the_marks_are_gone_is_handled_again(tmp_path, brokers, database):
    broker, other = brokers
    async with running(paying(broker, database), tmp_path) as payments:
        await payments.publish_all([OrderPlaced(f"o-{number}", number) for number in range(20)])
        await until(payments.caught_up)
        await _rerun(Place(Eager(other, payments.caught_up), database), "payments", "orders", SeekTo.START)
        await until(payments.caught_up)
        assert await database.fetch("select count(*) from ledger", row=int) == [40]
