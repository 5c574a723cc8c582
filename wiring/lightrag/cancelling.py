"""What is cancelled ends, also where its cancellation is lost on the way.

LightRAG overhears one that comes while a model answers. ``asyncio.wait_for`` loses one that comes when what it waits
for is just done (Python 3.11, cpython issue 86296), and the client of Redis sends each command in one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

CANCEL_INTERVAL = 1.0


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel the task, again and again until it has ended."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_INTERVAL)


async def ending_for_certain(work: Coroutine[Any, Any, None]) -> None:
    """Do the work, for somebody who cancels it only once and waits for its end."""
    task = asyncio.create_task(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):  # which is passed on
            await asyncio.wait([task], timeout=CANCEL_INTERVAL)
        if was_cancelled():
            task.cancel()
    await task


async def pause(seconds: float) -> None:
    """Wait, in a loop that ends when its task is cancelled.

    Raises:
        asyncio.CancelledError: it was, also if something that it awaited before has lost that.
    """
    end_if_cancelled()
    await asyncio.sleep(seconds)


def end_if_cancelled() -> None:
    """Let a loop end whose task was cancelled.

    Raises:
        asyncio.CancelledError: it was, also if something that it awaited before has lost that.
    """
    if was_cancelled():
        raise asyncio.CancelledError


def was_cancelled() -> bool:
    """Whether the running task was cancelled, also if something that it awaited has lost that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
