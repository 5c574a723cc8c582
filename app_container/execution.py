"""Where am I: in a plain thread, on an event loop that lasts, or on one that passes with its task?

The answer decides which driver fits. An async driver lives as long as its loop, so on a loop that is made for one task
it would be a driver per task; there, the process's sync driver behind ``bridge.py`` is the right one.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Literal, NamedTuple

from app_container.prefect_run import PrefectRun, prefect_run

Lifetime = Literal["process", "loop", "bridge"]

_log = logging.getLogger("app_container")
_LASTING = "_app_container_lasts"
_logged: set[Execution] = set()


class Execution(NamedTuple):
    """Which driver fits here (the name of a choice of ``container.driver``), and why."""

    lifetime: Lifetime
    reason: str


_PLAIN_THREAD = Execution("process", "no event loop runs in this thread: the process's sync driver")
_LASTING_LOOP = Execution("loop", "the worker loop lasts as long as the process: its async driver")
_OWN_LOOP = Execution("loop", "an event loop of the application's own: its async driver")
_CELERY_LOOP = Execution("bridge", "a loop inside a Celery task passes with the task: the sync driver, bridged")
_OF_PREFECT: dict[PrefectRun | None, Execution] = {
    "flow": Execution("loop", "a Prefect flow's loop, where its tasks are awaited, too: its async driver"),
    "task": Execution("bridge", "a loop inside a Prefect task passes with the task: the sync driver, bridged"),
    "sync": Execution("process", "a sync Prefect task or flow cannot await on the loop that runs it: the sync driver"),
}


def mark_lasting(loop: asyncio.AbstractEventLoop) -> None:
    """Say that ``loop`` lasts as long as its process, whichever task's context it runs."""
    loop.__dict__[_LASTING] = True


def lasts(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether that was said of ``loop``."""
    return _LASTING in loop.__dict__


def execution() -> Execution:
    """Find out where the caller runs. Never imports Celery or Prefect: who runs inside one has imported it."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _PLAIN_THREAD
    if lasts(loop):
        return _LASTING_LOOP
    if _in_celery_task():
        return _CELERY_LOOP
    return _OF_PREFECT.get(prefect_run(loop), _OWN_LOOP)


def lifetime() -> Lifetime:
    """The choice for ``container.driver``; logs each reason once, at DEBUG."""
    here = execution()
    if here not in _logged:
        _logged.add(here)
        _log.debug("driver: %s", here.reason)
    return here.lifetime


def _in_celery_task() -> bool:
    state = sys.modules.get("celery._state")
    return state is not None and state.get_current_task() is not None
