"""Waiting for something that another process does."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import psutil

from wiring.testing.waiting import until


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
