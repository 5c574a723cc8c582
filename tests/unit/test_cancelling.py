"""What loses a cancellation ends all the same."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from wiring.lightrag import cancelling
from wiring.lightrag.cancelling import end, ending_for_certain


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelling, "CANCEL_INTERVAL", 0.02)


async def losing(times: int) -> None:
    for _ in range(times):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
    await asyncio.sleep(60)


def test_a_task_is_cancelled_until_it_has_ended() -> None:
    async def run() -> None:
        task = asyncio.create_task(losing(3))
        await asyncio.sleep(0.01)
        await asyncio.wait_for(end(task), 5)
        assert task.cancelled()

    asyncio.run(run())


@pytest.mark.parametrize("cancellations", [1, 2])
def test_work_that_is_cancelled_only_once_ends(cancellations: int) -> None:
    async def run() -> None:
        task = asyncio.create_task(ending_for_certain(losing(3)))
        for _ in range(cancellations):
            await asyncio.sleep(0.01)
            task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_work_that_ends_by_itself_tells_how() -> None:
    async def fail() -> None:
        await asyncio.sleep(0.05)
        raise ValueError("so it is")

    with pytest.raises(ValueError, match="so it is"):
        asyncio.run(ending_for_certain(fail()))
