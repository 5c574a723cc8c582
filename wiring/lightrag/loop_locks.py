"""LightRAG's locks of a process, on one event loop after the other.

Each belongs to the first loop on which somebody had to wait for it. Where each task has an ``asyncio.run`` of its own,
with a LightRAG of its own, the second task fails on it, and LightRAG notes its documents as failed without raising.
"""

from __future__ import annotations

import asyncio

from lightrag.kg import shared_storage

_OF_A_SINGLE_PROCESS = ("_internal_lock", "_data_init_lock")


def renew_locks() -> None:
    """Replace the locks whose loop is closed; called when a LightRAG is initialized, on its loop."""
    if (locks := shared_storage._async_locks) is not None:  # noqa: SLF001 - there is no public way to them
        locks.update((name, asyncio.Lock()) for name, lock in list(locks.items()) if _is_left_behind(lock))
        return
    for name in _OF_A_SINGLE_PROCESS:
        if _is_left_behind(getattr(shared_storage, name)):
            setattr(shared_storage, name, asyncio.Lock())


def _is_left_behind(lock: object) -> bool:
    loop = getattr(lock, "_loop", None)
    return isinstance(loop, asyncio.AbstractEventLoop) and loop.is_closed()
