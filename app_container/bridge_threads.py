"""The threads in which the bridge calls the sync driver.

An event loop's own threads would not do: a loop that passes with its task makes them anew each time, there may be more
of them than the driver has connections, and ``asyncio.run`` waits for them without a bound when a server stopped.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

CANCEL_TIMEOUT = 5.0
"""Seconds that a cancelled caller waits for the call it made: the driver's calls cannot be interrupted."""


class BridgeThreads:
    """At most ``limit`` threads, made when they are needed and kept; all event loops of the process share them.

    They are daemons, so a call that hangs at a server keeps no process from ending.

    Args:
        limit: how many; more than the driver has connections would only wait for one another.
        acquisition_timeout: seconds that a call waits for a thread, as it would for a connection.
    """

    def __init__(self, limit: int, acquisition_timeout: float) -> None:
        self._limit = limit
        self._acquisition_timeout = acquisition_timeout
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._count = 0
        self._closed = False

    async def run(self, call: Callable[[], T], abandon: Callable[[Future[T]], None]) -> T:
        """Run ``call`` in a thread, with the caller's context variables.

        If the caller is cancelled, a call that did not start is dropped; for one that runs, the caller waits up to
        ``CANCEL_TIMEOUT`` seconds, for two must not use one session.

        Args:
            call: what to run.
            abandon: is given the future of a call that still runs when the caller no longer waits for it.

        Raises:
            neo4j.exceptions.ConnectionAcquisitionTimeoutError: no thread became free in time.
        """
        future: Future[T] = Future()
        self._submit(call, future)
        waiter = asyncio.wrap_future(future)
        in_time = asyncio.get_running_loop().call_later(self._acquisition_timeout, future.cancel)
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if future.cancelled() and not (caller and caller.cancelling()):
                self._raise_acquisition_timed_out()
            if not future.cancel():
                await self._wait_for_its_end(waiter, future, abandon)
            raise
        finally:
            in_time.cancel()

    def close(self) -> None:
        """Let the threads end, each when its call is done."""
        with self._lock:
            self._closed = True
            for _ in range(self._count):
                self._calls.put(None)

    def _submit(self, call: Callable[[], T], future: Future[T]) -> None:
        context = contextvars.copy_context()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = context.run(call)
            except BaseException as error:  # noqa: BLE001 - the caller raises it
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._lock:
            if self._closed:
                from neo4j.exceptions import DriverError

                raise DriverError("Driver closed")
            self._calls.put(work)
            if not self._idle.acquire(blocking=False) and self._count < self._limit:
                self._start_one(future)

    def _start_one(self, future: Future[Any]) -> None:
        thread = threading.Thread(target=self._serve, name=f"bridge-{self._count + 1}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more of them; those that are there will do
            if not self._count:
                future.cancel()
                raise
        else:
            self._count += 1

    def _serve(self) -> None:
        while (work := self._calls.get()) is not None:
            work()
            del work  # or the last result would be kept until the next call
            self._idle.release()

    async def _wait_for_its_end(
        self, waiter: asyncio.Future[T], future: Future[T], abandon: Callable[[Future[T]], None]
    ) -> None:
        try:
            await asyncio.wait([waiter], timeout=CANCEL_TIMEOUT)
        finally:
            if not waiter.done():
                waiter.cancel()
                abandon(future)

    def _raise_acquisition_timed_out(self) -> Any:
        from neo4j.exceptions import ConnectionAcquisitionTimeoutError

        raise ConnectionAcquisitionTimeoutError(
            f"failed to obtain a thread for the bridged driver within {self._acquisition_timeout!r}s (timeout); "
            "all of them, as many as the pool has connections, are waiting for the server"
        ) from None
