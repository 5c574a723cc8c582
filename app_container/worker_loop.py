"""One persistent event loop in a thread of the process, for coroutines of code that has no loop of its own.

A Celery task is a plain function. Giving each its own ``asyncio.run`` would give each its own driver, and LightRAG's
locks and queues would end up on different loops. So all of them run on this one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from app_container.errors import WorkerLoopError
from app_container.execution import mark_lasting
from app_container.worker_call import Call, NothingComesError

if TYPE_CHECKING:
    from app_container.metrics import Metrics

T = TypeVar("T")
_log = logging.getLogger("app_container")

START_TIMEOUT = 10.0


class WorkerLoop:
    """Starts its thread and loop at once; ``run`` may be called from any other thread, ``run_async`` awaited anywhere.

    It must be made after a fork, in the process that uses it: threads do not survive a fork. As a provider of the
    container it is made on first use.

    Args:
        shutdown_timeout: seconds that coroutines have for their clean-up, when their caller is interrupted and when
            the loop is closed.
        metrics: tells how much it has to do.
    """

    def __init__(self, shutdown_timeout: float = 10.0, metrics: Metrics | None = None) -> None:
        self._shutdown_timeout = shutdown_timeout
        self._ending = threading.Event()
        self._close_once = threading.Lock()
        self._calls: set[Call[Any]] = set()
        self._loop = asyncio.new_event_loop()
        mark_lasting(self._loop)
        started = threading.Event()
        self._loop.call_soon(started.set)
        self._thread = threading.Thread(target=self._main, name="worker-loop", daemon=True)
        try:
            self._thread.start()
            if not started.wait(START_TIMEOUT):
                raise WorkerLoopError(f"the worker loop did not start within {START_TIMEOUT:.0f} s")
        except BaseException:  # also an interruption of the caller, who will not know that there is something to close
            self.close()
            raise
        if metrics is not None:
            metrics.watch_worker_loop(self)

    @property
    def is_open(self) -> bool:
        """Whether it is not closed."""
        return not self._loop.is_closed()

    @property
    def queued(self) -> int:
        """How many coroutines wait for their first turn."""
        return sum(not call.has_begun for call in list(self._calls))

    @property
    def active(self) -> int:
        """How many coroutines have begun and not ended."""
        return sum(call.has_begun for call in list(self._calls))

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
            TypeError: it is no coroutine.
        """
        _check(coroutine)
        if self._is_here():
            coroutine.close()
            raise WorkerLoopError("worker_loop.run() was called on the worker loop itself; await the coroutine instead")
        call = self._call(coroutine, timeout)
        try:
            self._submit(call)
            if timeout is not None:
                concurrent.futures.wait([call.future], timeout + self._shutdown_timeout)
                if not call.future.done():
                    call.cancel()
                    call.drop()
                    raise TimeoutError(f"{call.missed}, nor did its clean-up; it was abandoned")
            return self._outcome(call)
        except BaseException:
            if not call.future.done():
                if call.cancel():
                    concurrent.futures.wait([call.future], self._shutdown_timeout)
                self._abandon(call)
            raise

    async def run_async(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The same for code on an event loop, which goes on meanwhile; on the worker loop itself, it is just awaited.

        If the caller is cancelled, the coroutine is, too, and its clean-up awaited, for at most ``shutdown_timeout``
        seconds.

        Args:
            coroutine: what to run.

        Raises:
            WorkerLoopError: the loop is closed, or the coroutine was cancelled from within.
            TypeError: it is no coroutine.
        """
        _check(coroutine)
        if self._is_here():
            return await coroutine
        call = self._call(coroutine, None)
        ended = call.ended_here()
        try:
            self._submit(call)
            await ended.wait()
            return self._outcome(call)
        except BaseException:
            if not call.future.done():
                if call.cancel():
                    await _wait_through_cancellations(ended, self._shutdown_timeout)
                self._abandon(call)
            raise

    def next_turn(self) -> concurrent.futures.Future[None]:
        """What is done as soon as the loop takes a turn; never, while something blocks it. From any thread.

        Returns:
            A future, which may be cancelled; it holds a ``WorkerLoopError`` if the loop is closed.
        """
        turn: concurrent.futures.Future[None] = concurrent.futures.Future()

        def take() -> None:
            if turn.set_running_or_notify_cancel():
                turn.set_result(None)

        if self._is_here():
            take()
            return turn
        try:
            self._loop.call_soon_threadsafe(take)
        except RuntimeError:
            turn.set_exception(WorkerLoopError("the worker loop is closed"))
        return turn

    def _is_here(self) -> bool:
        return threading.current_thread() is self._thread

    def _call(self, coroutine: Coroutine[Any, Any, T], timeout: float | None) -> Call[T]:
        call = Call(self._loop, coroutine, timeout)
        self._calls.add(call)
        call.future.add_done_callback(lambda _: self._calls.discard(call))
        return call

    def _submit(self, call: Call[Any]) -> None:
        if self._ending.is_set() or not call.submit():
            call.drop()
            raise WorkerLoopError("the worker loop is closed; ask container.worker_loop() for the current one")

    def _outcome(self, call: Call[T]) -> T:
        try:
            return call.future.result()
        except NothingComesError:
            call.drop()
            if self._ending.is_set():
                raise WorkerLoopError("the worker loop was closed while the coroutine ran") from None
            raise WorkerLoopError(f"{call.name} was cancelled by something it awaited") from None

    def _abandon(self, call: Call[Any]) -> None:
        if not call.future.done():
            _log.warning(
                "%s did not clean up within %g s after an interruption and was abandoned",
                call.name, self._shutdown_timeout,
            )  # fmt: skip
            call.drop()

    def close(self) -> None:
        """Cancel what still runs, wait for its clean-up, close the loop and everything that lives on it. Bounded."""
        if self._close_once.acquire(blocking=False):
            self._ending.set()
            if not self._thread.is_alive():
                self._loop.close()
                return
            with suppress(RuntimeError):  # it ended just now
                self._loop.call_soon_threadsafe(self._loop.stop)
        if self._is_here():
            return
        self._thread.join(self._shutdown_timeout)
        if self._thread.is_alive():
            _log.warning("the worker loop did not end within %.0f s and was abandoned", self._shutdown_timeout)
            self._give_up()

    def _give_up(self) -> None:
        """Tell those who still wait that nothing will come."""
        for call in list(self._calls):
            call.fail(NothingComesError())

    def _main(self) -> None:
        try:
            # On leaving it cancels tasks, finalises async generators, and closes the loop.
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.get_loop().run_forever()
        except RuntimeError as error:
            # Python 3.12 refuses the runner a thread for ending the loop's own ones, after all else is done.
            if "at interpreter shutdown" not in str(error):
                raise
        finally:
            self._ending.set()
            self._give_up()  # what was asked for so late that the loop did not get to it


def _check(coroutine: object) -> None:
    if not asyncio.iscoroutine(coroutine):
        raise TypeError(f"the worker loop takes a coroutine, found {coroutine!r}; a function must be called")


async def _wait_through_cancellations(ended: asyncio.Event, seconds: float) -> None:
    """Wait for an end at the most so many seconds; anyio cancels whoever waits at each turn of the loop."""
    deadline = time.monotonic() + seconds
    while not ended.is_set() and (left := deadline - time.monotonic()) > 0:
        with suppress(asyncio.CancelledError, TimeoutError):
            await asyncio.wait_for(ended.wait(), left)
