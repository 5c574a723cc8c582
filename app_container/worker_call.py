"""A coroutine on its way through the worker loop, and how its caller hears of its end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Call(Generic[T]):
    """A coroutine on its way through the loop; ``future`` tells its caller of the end.

    Args:
        loop: where it is to run.
        coroutine: what is to run.
        timeout: seconds, then it is cancelled; None for no bound.
    """

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
        """What runs, for messages."""
        return getattr(self._coroutine, "__qualname__", "the coroutine")

    @property
    def has_begun(self) -> bool:
        """Whether the loop has made a task of it."""
        return self._task is not None

    @property
    def missed(self) -> str:
        """What there is to say when its time is over."""
        return f"{self.name} did not end within {self._timeout:g} s"

    def submit(self) -> bool:
        """Hand the coroutine to the loop, from any thread; False if the loop is closed."""
        return self._on_the_loop(self._start)

    def cancel(self) -> bool:
        """Cancel the coroutine, from any thread; one that did not start never will. False if the loop is closed."""
        return self._on_the_loop(self._cancel)

    def drop(self) -> None:
        """Tell that nothing will come, and never start the coroutine."""
        self.fail(NothingComesError())
        if self._task is None:
            self._coroutine.close()

    def fail(self, error: BaseException) -> None:
        """Raise ``error`` where the caller waits, if nothing ended its waiting before."""
        with suppress(concurrent.futures.InvalidStateError):
            self.future.set_exception(error)

    def ended_here(self) -> asyncio.Event:
        """An event of the running loop, which is set when nothing more is to be waited for."""
        here, ended = asyncio.get_running_loop(), asyncio.Event()

        def tell(_: concurrent.futures.Future[T]) -> None:
            with suppress(RuntimeError):  # that loop was closed
                here.call_soon_threadsafe(ended.set)

        self.future.add_done_callback(tell)
        return ended

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
            self.fail(NothingComesError())
        elif error := task.exception():
            self.fail(error)
        elif isinstance(result := task.result(), _Raised):
            self.fail(result.error)
        else:
            with suppress(concurrent.futures.InvalidStateError):
                self.future.set_result(result)


class _Raised(NamedTuple):
    error: BaseException


class NothingComesError(Exception):
    """What a coroutine was to bring will not come: it was cancelled, or its loop was closed."""
