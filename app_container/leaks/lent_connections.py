"""The connections that a pool lent to sessions: which one is away for too long, and how one comes back that is lost.

The driver gives a connection back only when its session is closed (neo4j 6.4). A session that is garbage keeps it, so
the pool has one less for ever, and the server keeps its transaction with all its locks. Here it is cut and given back,
and the pool opens another one when it needs it.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Literal

from app_container.leaks.call_site import CallSite
from app_container.leaks.found_leaks import note, tell_found
from app_container.pools.pool_watch import PoolWatcher, watch_pool


class Lending:
    """A connection that a session has now.

    Args:
        session_opened: where the session was opened.
    """

    __slots__ = ("is_told", "session_opened", "since")

    def __init__(self, session_opened: CallSite) -> None:
        self.session_opened = session_opened
        self.since = time.monotonic()
        self.is_told = False


class LentConnections(PoolWatcher):
    """What one pool lent to sessions that the application opened. It watches the pool.

    Args:
        pool: ``driver._pool``, which nobody has used yet.
        threshold: seconds after which a connection has been away for too long; 0 for never.
        tell_overdue: tells of a connection that has been away for too long, once a lending; returns True.
        driver_closed: is called when the pool is closed.

    Raises:
        AttributeError: this version of the driver keeps its pool in another way.
    """

    def __init__(
        self, pool: Any, threshold: float, tell_overdue: Callable[[Lending], bool], driver_closed: Callable[[], None]
    ) -> None:
        self._pid = os.getpid()
        self._pool = pool
        self._threshold = threshold or math.inf
        self._tell_overdue = tell_overdue
        self._driver_closed = driver_closed
        self._look_at = time.monotonic() + self._threshold
        self._lock = threading.Lock()
        self._lent: dict[Any, Lending] = {}
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        if inspect.iscoroutinefunction(pool.close):
            self._loop = weakref.ref(asyncio.get_running_loop())
        watch_pool(pool, self)

    @property
    def is_ours(self) -> bool:
        """Whether the pool is of this process, and not of the one that forked it."""
        return self._pid == os.getpid()

    def lend(self, connection: Any, session_opened: CallSite) -> None:
        """A session of the application was given this connection."""
        self._lent[connection] = Lending(session_opened)

    def lending(self, connection: Any) -> Lending | None:
        """Of a connection that is lent now."""
        return self._lent.get(connection)

    def give_back(self, connection: Any) -> Literal["done", "too late", "not here"]:
        """Cut a connection that nobody uses, and give it back to its pool.

        An async pool takes it only on its own event loop, and from a task.
        """
        if self._loop is not None:
            loop = self._loop()
            if loop is None or loop.is_closed():
                return "too late"
            if not _is_task_of(loop):
                return "not here"
        self._pool.kill_and_release(connection)
        return "done"

    def tell_soon(self) -> None:
        """Let what was found be told where ``give_back`` works; finalisers may call it."""
        loop = self._loop() if self._loop else None
        if loop is not None:
            with suppress(RuntimeError):  # it was closed
                loop.call_soon_threadsafe(_tell_in_a_task, loop)

    def look(self) -> None:
        """Look for what is overdue, and tell what was found; from any thread. Never fails."""
        if time.monotonic() >= self._look_at:
            self._look_for_overdue_ones()
        tell_found()

    def released(self, connection: Any) -> None:
        """A connection is back."""
        self._lent.pop(connection, None)
        self.look()

    def closed(self) -> None:
        """The pool is closed, with all its connections."""
        tell_found()
        self._look_at = math.inf
        self._driver_closed()

    def _look_for_overdue_ones(self) -> None:
        now = time.monotonic()
        oldest = now
        for lending in list(self._lent.values()):  # in the order in which they were lent
            if lending.is_told:
                continue
            if now - lending.since < self._threshold:
                oldest = lending.since
                break
            with self._lock:
                is_told, lending.is_told = lending.is_told, True
            if not is_told:
                note(partial(self._tell_overdue, lending))
        self._look_at = oldest + self._threshold  # nothing can be overdue before


def _is_task_of(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop and asyncio.current_task() is not None
    except RuntimeError:
        return False


def _tell_in_a_task(loop: asyncio.AbstractEventLoop) -> None:
    """Tell on this event loop in a task, for async pools ask which task it is that uses them."""

    async def tell() -> None:
        tell_found()

    loop.create_task(tell())  # the loop keeps it until its first step, which is its last
