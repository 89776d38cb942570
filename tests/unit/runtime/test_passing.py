"""Which failures are the road's or the shelf's, waited for and never counted, and which are the handler's."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.errors import (
    ConnectionLostError,
    ConstraintError,
    HandlingError,
    LeaseLostError,
    NewerVersionError,
    PublishError,
    Refusal,
    RejectError,
    StoreFullError,
    StoreUnavailableError,
)
from antiphon.runtime.surroundings import failure_of, is_passing

PASSING = Refusal("orders", "m-1", "busy", retryable=True)
LASTING = Refusal("orders", "m-2", "too large")


@pytest.mark.parametrize(
    "error",
    [
        ConnectionLostError("away"),
        StoreFullError("full"),
        StoreUnavailableError("locked"),
        LeaseLostError("taken"),
        PublishError([PASSING]),
    ],
)
def test_what_the_road_or_the_shelf_cannot_do_now_passes(error):
    assert is_passing(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("broken"),
        RejectError("never"),
        ConstraintError("not unique"),
        NewerVersionError("m-1", "OrderPlaced", 2, 1),
        PublishError([LASTING]),
        PublishError([PASSING, LASTING]),
    ],
)
def test_anything_else_does_not(error):
    assert not is_passing(error)


async def test_a_cancelled_thing_that_a_handler_awaited_is_its_failure():
    inner = asyncio.create_task(asyncio.sleep(1))
    inner.cancel()
    try:
        await inner
    except asyncio.CancelledError as error:
        failure = failure_of(error)
    assert isinstance(failure, HandlingError)
    assert isinstance(failure.__cause__, asyncio.CancelledError)


async def test_its_own_cancellation_goes_on():
    async def handler() -> None:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError as error:
            failure_of(error)

    task = asyncio.create_task(handler())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
