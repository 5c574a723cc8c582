"""One value per event loop."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

from dependency_injector import providers

from app_container.errors import EndingLoopError, NoRunningLoopError
from app_container.leaks.leaks import tell_closed_with_loop
from app_container.loop_connections import cut_connections, open_connections, until_closed, watch_connections
from app_container.process_singleton import build, keep_inherited

T = TypeVar("T")
_log = logging.getLogger("app_container")

CLOSE_TIMEOUT = 5.0
"""Seconds that closing one value may take before it is left to the operating system."""

_SLOTS = "_app_container_slots"
_ENDS = "_app_container_ends"


class LoopLocalResource(providers.ContextLocalResource[T], Generic[T]):
    """One value per running event loop, whichever task, context or thread of that loop asks.

    The value lives on the loop itself and is closed with it, by whichever of three nets comes first: an async
    generator that is suspended on the loop, so that ``shutdown_asyncgens`` finalises it; ``loop.close``; the end of
    the interpreter. Nothing outside the loop refers to it strongly, so a loop that is gone takes everything along.

    Args:
        provides: makes the value, synchronously and without I/O.
        args: injected into ``provides``.
        kwargs: injected into ``provides``.
    """

    def __init__(self, provides: Any = None, *args: Any, **kwargs: Any) -> None:
        self._awaited_shutdown = _AwaitedShutdown()
        super().__init__(provides, *args, **kwargs)

    def _provide(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise NoRunningLoopError(getattr(self.provides, "__name__", "this provider")) from None
        slot = self._open_slot(loop)
        if slot is None:
            if _ENDS in loop.__dict__:
                raise EndingLoopError(getattr(self.provides, "__name__", "this provider"))
            slot = _Slot(build(self, args, kwargs), loop)
            slots = _slots(loop)
            if self in slots and not slots[self].is_ours:
                keep_inherited(slots[self])
            slots[self] = slot
        value: T = slot.value
        return value

    @property
    def initialized(self) -> bool:
        """Whether the running loop has an open value; False where no loop runs."""
        return self._running_slot() is not None

    def init(self) -> T:  # type: ignore[override]  # the base class promises something to await; there is nothing
        """Make the running loop's value, if it has none."""
        value: T = self()
        return value

    def shutdown(self) -> Awaitable[None] | None:
        """Close the running loop's value; await what this returns. Other loops keep theirs."""
        slot = self._running_slot()
        return slot.close() if slot else None

    @property
    def related(self) -> Iterator[providers.Provider[Any]]:
        """What dependency-injector traverses from here."""
        yield self._awaited_shutdown
        yield from super().related

    def _running_slot(self) -> _Slot | None:
        with suppress(RuntimeError):
            return self._open_slot(asyncio.get_running_loop())
        return None

    def _open_slot(self, loop: asyncio.AbstractEventLoop) -> _Slot | None:
        slots: dict[LoopLocalResource[Any], _Slot] | None = loop.__dict__.get(_SLOTS)
        slot = slots.get(self) if slots else None
        return slot if slot is not None and slot.is_open else None


class _AwaitedShutdown(providers.Resource[None]):
    """Makes ``container.shutdown_resources()`` awaitable wherever an event loop runs, and only there.

    A container asks its resources whether they are in async mode. The loop's resource itself must not be: ``@inject``
    would then await the driver it provides.
    """

    @property
    def initialized(self) -> bool:
        return False

    def init(self) -> None:
        """There is nothing to make."""

    def is_async_mode_enabled(self) -> bool:
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            return True
        return False


class _Slot:
    """A value on a loop, and the suspended generator that closes it."""

    def __init__(self, value: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.value = value
        self._pid = os.getpid()
        self._closing = False
        self._turn = asyncio.Lock()
        self._closer = self._close_when_finalised()
        # Runs the generator up to its yield. It is the loop's hook for new async generators that enters it in the
        # loop's list, so this must happen here, while the loop runs.
        with suppress(StopIteration):
            self._closer.asend(None).send(None)
        watch_connections(loop)
        _log.info(
            "opened %s for the loop of thread %r in process %d",
            type(value).__name__, threading.current_thread().name, self._pid,
        )  # fmt: skip

    @property
    def is_open(self) -> bool:
        return not self._closing and self._pid == os.getpid()

    @property
    def is_ours(self) -> bool:
        return self._pid == os.getpid()

    async def close(self) -> None:
        self._closing = True  # who asks meanwhile gets a new value
        async with self._turn:
            await self._closer.aclose()

    async def _close_when_finalised(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self._closing = True
            if self.is_ours:
                await _close(self.value)


async def _close(value: Any) -> None:
    name = type(value).__name__
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            result = value.close()
            if inspect.isawaitable(result):
                await result
            await until_closed()
        _log.info(
            "closed %s of the loop of thread %r in process %d", name, threading.current_thread().name, os.getpid()
        )
    except TimeoutError:
        _log.warning("%s did not close within %.0f s and was abandoned", name, CLOSE_TIMEOUT)


_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


def _slots(loop: asyncio.AbstractEventLoop) -> dict[LoopLocalResource[Any], _Slot]:
    slots: dict[LoopLocalResource[Any], _Slot] | None = loop.__dict__.get(_SLOTS)
    if slots is None:
        slots = loop.__dict__[_SLOTS] = {}
        _close_slots_before_the_loop(loop)
    _loops.add(loop)
    return slots


def _close_slots_before_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    close_loop = loop.close

    def close() -> None:
        try:
            if not loop.is_closed() and not loop.is_running():
                for slot in _open_slots(loop):
                    tell_closed_with_loop(slot.value)
                _end_connections(loop)
        finally:
            close_loop()

    loop.close = close  # type: ignore[method-assign]


def _end_connections(loop: asyncio.AbstractEventLoop) -> None:
    """Close the values of a loop that does not run, and what their drivers left open."""
    loop.__dict__[_ENDS] = True  # what follows lets other tasks of the loop go on, and they may ask for new ones
    if _open_slots(loop):
        _run_on(loop, _close_slots(loop))
    if open_connections(loop):
        _run_on(loop, cut_connections())


def _run_on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        loop.run_until_complete(coroutine)
    else:  # another loop runs in this thread, which allows no second one
        thread = threading.Thread(target=loop.run_until_complete, args=(coroutine,), daemon=True)
        thread.start()
        thread.join(2 * CLOSE_TIMEOUT)


def _open_slots(loop: asyncio.AbstractEventLoop) -> list[_Slot]:
    return [slot for slot in loop.__dict__.get(_SLOTS, {}).values() if slot.is_open]


async def _close_slots(loop: asyncio.AbstractEventLoop) -> None:
    await asyncio.gather(*(slot.close() for slot in _open_slots(loop)), return_exceptions=True)


def close_loops() -> None:
    """Close the values of all loops of this process that are still open."""
    for loop in list(_loops):
        if loop.is_closed() or not _open_slots(loop):
            continue
        with suppress(Exception):
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(_close_slots(loop), loop).result(CLOSE_TIMEOUT)
            else:
                _end_connections(loop)


def forget_loops() -> None:
    """Forget, in a forked child, the loops of the parent."""
    _loops.clear()
