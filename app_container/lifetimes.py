"""The two lifetimes of this project: one value per process, and one value per event loop.

Both are resources of dependency-injector, so ``override``, ``@inject``, ``init_resources`` and
``shutdown_resources`` work on them, and both provide synchronously, so no provider ever turns into one that must be
awaited.

Why not dependency-injector's own: its ``Singleton`` is not thread-safe and lives on in a forked child, where a
driver's sockets belong to the parent; its ``ContextLocalResource`` makes one value per *context*, and every asyncio
task has a context of its own, so it makes one driver per task.
"""

from __future__ import annotations

import atexit
import os

from app_container.loop_local import LoopLocalResource, close_loops, forget_loops
from app_container.process_singleton import (
    KeptProcessSingleton,
    ProcessSingleton,
    close_singletons,
    start_singletons_empty,
)

__all__ = ["KeptProcessSingleton", "LoopLocalResource", "ProcessSingleton"]


@atexit.register
def _close_everything() -> None:
    close_singletons()  # first, for some of them end what they have on a loop
    close_loops()


def _start_empty_after_fork() -> None:
    start_singletons_empty()
    forget_loops()


os.register_at_fork(after_in_child=_start_empty_after_fork)
