"""Waiting for something that another process does."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import psutil


def until(condition: Callable[[], Any], seconds: float = 40.0, *, told: Callable[[], str] = str) -> Any:
    """Wait until ``condition`` returns something true, and return that.

    Args:
        condition: asked again and again.
        seconds: a bound against hanging, far more than it takes.
        told: what the failure says.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {told()}"
        time.sleep(0.02)
    return found


async def until_here(condition: Callable[[], Any], seconds: float = 40.0) -> None:
    """The same on an event loop, which goes on meanwhile."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nothing sets an event for it
            await asyncio.sleep(0.005)


def stop_process(pid: int) -> None:
    """Let a process do nothing at all, and wait until it does: each of its threads stops when it is its turn to run."""

    def has_stopped() -> bool:
        threads = [thread.id for thread in psutil.Process(pid).threads()] if psutil.LINUX else [pid]
        return all(psutil.Process(thread).status() == psutil.STATUS_STOPPED for thread in threads)

    os.kill(pid, signal.SIGSTOP)
    until(has_stopped, told=lambda: f"process {pid} goes on")
