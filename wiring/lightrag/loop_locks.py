"""Locks of LightRAG's that serve every event loop of a process, also several at the same time.

LightRAG keeps a few ``asyncio.Lock`` for the life of the process. The first loop on which one of them has to be waited
for owns it from then on, and on every other loop whoever has to wait for it fails: documents of a task's second
``asyncio.run`` were marked as failed, and those of two threads.
"""

from __future__ import annotations

import asyncio
import threading
import weakref

from lightrag.kg import shared_storage

POLL_INTERVAL = 0.01
"""Seconds between two attempts to take a lock that another loop has."""


class LoopsLock:
    """The surface of ``asyncio.Lock``. Coroutines of one loop wait in line, and loops take turns."""

    def __init__(self) -> None:
        self._lines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()
        self._taken = threading.Lock()
        self._line: asyncio.Lock | None = None

    async def acquire(self) -> bool:
        """Wait until no coroutine of any loop has it, and take it."""
        line = self._lines.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        await line.acquire()
        try:
            while not self._taken.acquire(blocking=False):  # noqa: ASYNC110 - an event would belong to one loop
                await asyncio.sleep(POLL_INTERVAL)
        except BaseException:
            line.release()
            raise
        self._line = line
        return True

    def release(self) -> None:
        """Give it back, on the loop that took it."""
        line, self._line = self._line, None
        self._taken.release()
        if line is not None:
            line.release()

    def locked(self) -> bool:
        """Whether somebody has it."""
        return self._taken.locked()


def use_loops_locks() -> None:
    """Replace LightRAG's, once its shared data is there; does nothing when they are replaced already."""
    if shared_storage._async_locks is not None:  # noqa: SLF001 - there is no public way
        for name, lock in shared_storage._async_locks.items():  # noqa: SLF001
            if isinstance(lock, asyncio.Lock):
                shared_storage._async_locks[name] = LoopsLock()  # noqa: SLF001
    for name in ("_internal_lock", "_data_init_lock"):
        if isinstance(getattr(shared_storage, name), asyncio.Lock):
            setattr(shared_storage, name, LoopsLock())
