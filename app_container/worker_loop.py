"""One persistent event loop in a thread of the process, for coroutines of code that has no loop of its own.

A Celery task is a plain function. Giving each its own ``asyncio.run`` would give each its own driver, and LightRAG's
locks and queues would end up on different loops. So all of them run on this one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from app_container.errors import WorkerLoopError
from app_container.execution import mark_lasting

T = TypeVar("T")
_log = logging.getLogger("app_container")

START_TIMEOUT = 10.0


class WorkerLoop:
    """Starts its thread and loop at once; ``run`` may be called from any other thread.

    It must be made after a fork, in the process that uses it: threads do not survive a fork. As a provider of the
    container it is made on first use.

    Args:
        shutdown_timeout: seconds that coroutines have for their clean-up, when their caller is interrupted and when
            the loop is closed.
    """

    def __init__(self, shutdown_timeout: float = 10.0) -> None:
        self._shutdown_timeout = shutdown_timeout
        self._started = threading.Event()
        self._ending = False
        self._running: set[concurrent.futures.Future[Any]] = set()
        self._thread = threading.Thread(target=self._main, name="worker-loop", daemon=True)
        self._thread.start()
        if not self._started.wait(START_TIMEOUT):
            raise WorkerLoopError(f"the worker loop did not start within {START_TIMEOUT:.0f} s")

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run ``coroutine`` on the worker loop and return its result.

        The coroutine sees the caller's context variables. If the caller is interrupted while it waits (by
        ``KeyboardInterrupt``, Celery's ``SoftTimeLimitExceeded`` or the like), the coroutine is cancelled and its
        clean-up awaited, for at most ``shutdown_timeout`` seconds, before the interruption goes on.

        Args:
            coroutine: what to run.
            timeout: seconds, then it is cancelled, and its clean-up has ``shutdown_timeout`` seconds; None for no
                bound.

        Raises:
            TimeoutError: ``timeout`` is over.
            WorkerLoopError: the loop is closed, or this is its own thread, where waiting would never end; or the
                coroutine was cancelled from within.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise WorkerLoopError("worker_loop.run() was called on the worker loop itself; await the coroutine instead")
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        tasks: list[asyncio.Task[T]] = []
        context = contextvars.copy_context()

        def start() -> None:
            task = self._loop.create_task(_bounded(coroutine, timeout), context=context)
            tasks.append(task)
            task.add_done_callback(lambda done: _copy_outcome(done, future))

        bound = None if timeout is None else timeout + self._shutdown_timeout
        started = time.monotonic()
        try:
            self._call_soon(start, coroutine, future)
            return future.result(bound)
        except concurrent.futures.CancelledError:
            if not tasks:
                coroutine.close()
            if self._ending:
                raise WorkerLoopError("the worker loop was closed while the coroutine ran") from None
            raise WorkerLoopError(f"{_name(coroutine)} was cancelled by something it awaited") from None
        except BaseException as interruption:
            if future.done():
                raise  # the coroutine's own, or that the loop is closed
            if isinstance(interruption, TimeoutError) and bound and time.monotonic() - started >= bound:
                raise TimeoutError(f"{_missed(coroutine, timeout)}, nor did its clean-up; it was abandoned") from None
            self._cancel_and_wait(tasks, future, coroutine)
            raise

    def close(self) -> None:
        """Cancel what still runs, wait for its clean-up, close the loop and everything that lives on it. Bounded."""
        if not self._thread.is_alive():
            return
        self._ending = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is self._thread:
            return
        self._thread.join(self._shutdown_timeout)
        if self._thread.is_alive():
            _log.warning("the worker loop did not end within %.0f s and was abandoned", self._shutdown_timeout)
            self._give_up()

    def _cancel_and_wait(
        self, tasks: list[asyncio.Task[T]], future: concurrent.futures.Future[T], coroutine: Coroutine[Any, Any, T]
    ) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
        concurrent.futures.wait([future], self._shutdown_timeout)
        if not future.done():
            _log.warning(
                "%s did not clean up within %g s after an interruption and was abandoned",
                _name(coroutine), self._shutdown_timeout,
            )  # fmt: skip

    def _give_up(self) -> None:
        """Tell those who still wait that nothing will come."""
        for future in list(self._running):
            _cancel(future)

    def _call_soon(
        self, start: Callable[[], None], coroutine: Coroutine[Any, Any, T], future: concurrent.futures.Future[T]
    ) -> None:
        try:
            if self._ending or not self._thread.is_alive():
                raise RuntimeError
            self._loop.call_soon_threadsafe(start)
        except RuntimeError:
            coroutine.close()
            with suppress(concurrent.futures.InvalidStateError):  # close() was as quick, and told the future
                future.set_exception(
                    WorkerLoopError("the worker loop is closed; ask container.worker_loop() for the current one")
                )

    def _main(self) -> None:
        with asyncio.Runner() as runner:  # on leaving it cancels tasks, finalises async generators, closes the loop
            self._loop = runner.get_loop()
            mark_lasting(self._loop)
            self._loop.call_soon(self._started.set)
            self._loop.run_forever()
        self._give_up()  # what was asked for so late that the loop did not get to it


async def _bounded(coroutine: Coroutine[Any, Any, T], timeout: float | None) -> T:  # noqa: ASYNC109 - the bound is the caller's
    try:
        async with asyncio.timeout(timeout) as bound:
            return await coroutine
    except TimeoutError:
        if bound.expired():
            raise TimeoutError(f"{_missed(coroutine, timeout)} and was cancelled") from None
        raise


def _missed(coroutine: Coroutine[Any, Any, Any], timeout: float | None) -> str:
    return f"{_name(coroutine)} did not end within {timeout:g} s"


def _name(coroutine: Coroutine[Any, Any, Any]) -> str:
    return getattr(coroutine, "__qualname__", "the coroutine")


def _cancel(future: concurrent.futures.Future[Any]) -> None:
    if future.cancel():
        future.set_running_or_notify_cancel()


def _copy_outcome(task: asyncio.Task[T], future: concurrent.futures.Future[T]) -> None:
    if task.cancelled() or future.cancelled():
        _cancel(future)
    elif error := task.exception():
        future.set_exception(error)
    else:
        future.set_result(task.result())
