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
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar

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
        self._ending = threading.Event()
        self._close_once = threading.Lock()
        self._calls: set[_Call[Any]] = set()
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
        if not asyncio.iscoroutine(coroutine):
            raise TypeError(f"worker_loop.run() takes a coroutine, found {coroutine!r}; a function must be called")
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise WorkerLoopError("worker_loop.run() was called on the worker loop itself; await the coroutine instead")
        call = _Call(self._loop, coroutine, timeout)
        self._calls.add(call)
        call.future.add_done_callback(lambda _: self._calls.discard(call))
        try:
            if self._ending.is_set() or not call.submit():
                call.drop()
                raise WorkerLoopError("the worker loop is closed; ask container.worker_loop() for the current one")
            return self._outcome(call, timeout)
        except BaseException:
            if not call.future.done():
                self._interrupt(call)
            raise

    def _outcome(self, call: _Call[T], timeout: float | None) -> T:
        if timeout is not None:
            concurrent.futures.wait([call.future], timeout + self._shutdown_timeout)
            if not call.future.done():
                call.cancel()
                call.drop()
                raise TimeoutError(f"{call.missed}, nor did its clean-up; it was abandoned")
        try:
            return call.future.result()
        except _NothingComesError:
            call.drop()
            if self._ending.is_set():
                raise WorkerLoopError("the worker loop was closed while the coroutine ran") from None
            raise WorkerLoopError(f"{call.name} was cancelled by something it awaited") from None

    def _interrupt(self, call: _Call[Any]) -> None:
        if call.cancel():
            concurrent.futures.wait([call.future], self._shutdown_timeout)
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
        if threading.current_thread() is self._thread:
            return
        self._thread.join(self._shutdown_timeout)
        if self._thread.is_alive():
            _log.warning("the worker loop did not end within %.0f s and was abandoned", self._shutdown_timeout)
            self._give_up()

    def _give_up(self) -> None:
        """Tell those who still wait that nothing will come."""
        for call in list(self._calls):
            call.fail(_NothingComesError())

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


class _Call(Generic[T]):
    """A coroutine on its way through the loop; ``future`` tells its caller of the end."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], timeout: float | None
    ) -> None:
        self.future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._loop = loop
        self._coroutine = coroutine
        self._timeout = timeout
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[T | _Raised] | None = None

    @property
    def name(self) -> str:
        return getattr(self._coroutine, "__qualname__", "the coroutine")

    @property
    def missed(self) -> str:
        return f"{self.name} did not end within {self._timeout:g} s"

    def submit(self) -> bool:
        """Hand the coroutine to the loop, from any thread; False if the loop is closed."""
        return self._on_the_loop(self._start)

    def cancel(self) -> bool:
        """Cancel the coroutine, from any thread; one that did not start never will. False if the loop is closed."""
        return self._on_the_loop(self._cancel)

    def drop(self) -> None:
        """Tell that nothing will come, and never start the coroutine."""
        self.fail(_NothingComesError())
        if self._task is None:
            self._coroutine.close()

    def fail(self, error: BaseException) -> None:
        """Raise ``error`` where the caller waits, if nothing ended its waiting before."""
        with suppress(concurrent.futures.InvalidStateError):
            self.future.set_exception(error)

    def _on_the_loop(self, step: Callable[[], None]) -> bool:
        try:
            self._loop.call_soon_threadsafe(step)
        except RuntimeError:
            return False
        return True

    def _start(self) -> None:
        if not self.future.done():
            self._task = self._loop.create_task(self._run(), context=self._context)
            self._task.add_done_callback(self._end)

    def _cancel(self) -> None:
        if self._task is None:
            self.drop()
        else:
            self._task.cancel()

    async def _run(self) -> T | _Raised:
        try:
            async with asyncio.timeout(self._timeout) as bound:
                return await self._coroutine
        except TimeoutError:
            if bound.expired():
                raise TimeoutError(f"{self.missed} and was cancelled") from None
            raise
        except (SystemExit, KeyboardInterrupt) as error:
            return _Raised(error)  # raised in a task, they would end the loop; they are meant for the caller

    def _end(self, task: asyncio.Task[T | _Raised]) -> None:
        self._coroutine.close()  # if it was cancelled before its first step
        if task.cancelled():
            self.fail(_NothingComesError())
        elif error := task.exception():
            self.fail(error)
        elif isinstance(result := task.result(), _Raised):
            self.fail(result.error)
        else:
            with suppress(concurrent.futures.InvalidStateError):
                self.future.set_result(result)


class _Raised(NamedTuple):
    error: BaseException


class _NothingComesError(Exception):
    pass
