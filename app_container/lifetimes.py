"""The two lifetimes of this project: one value per process, and one value per event loop.

Both are resources of dependency-injector, so ``override``, ``@inject``, ``init_resources`` and
``shutdown_resources`` work on them, and both provide synchronously, so no provider ever turns into one that must be
awaited.

Why not dependency-injector's own: its ``Singleton`` is not thread-safe and lives on in a forked child, where a
driver's sockets belong to the parent; its ``ContextLocalResource`` makes one value per *context*, and every asyncio
task has a context of its own, so it makes one driver per task.
"""

from __future__ import annotations

import asyncio
import atexit
import inspect
import itertools
import logging
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

from dependency_injector import providers

from app_container.errors import NoRunningLoopError
from app_container.loop_connections import until_closed, watch_connections

T = TypeVar("T")
_log = logging.getLogger("app_container")

CLOSE_TIMEOUT = 5.0
"""Seconds that closing one value may take before it is left to the operating system."""


class ProcessSingleton(providers.Resource[T], Generic[T]):
    """One value per process: made by the first caller, whichever thread that is, and shared by all threads.

    After ``fork`` the child starts empty, with a fresh lock, and never closes what it inherited: closing a driver
    there would end the parent's transactions. ``shutdown()`` calls the value's ``close()``, once; asked again
    afterwards, a new value is made. What is still open when the interpreter ends is closed then, last opened first.
    A factory that fails leaves nothing behind, and the next caller tries again.

    Args:
        provides: makes the value; must not be a coroutine function.
        args: injected into ``provides``.
        kwargs: injected into ``provides``.
    """

    def __init__(self, provides: Any = None, *args: Any, **kwargs: Any) -> None:
        self._value: T | None = None
        self._lock = threading.RLock()
        super().__init__(provides, *args, **kwargs)

    def _provide(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        value = self._value
        if value is None:
            _singletons[self] = next(_order)  # before the lock is taken: a child forked now must find it
            with self._lock:
                value = self._value
                if value is None:
                    value = self._value = _make(self, args, kwargs)
                    _log.info("opened %s in process %d", type(value).__name__, os.getpid())
        return value

    @property
    def initialized(self) -> bool:
        """Whether this process has a value now."""
        return self._value is not None

    def shutdown(self) -> None:
        """Close the value of this process, if there is one."""
        with self._lock:
            value, self._value = self._value, None
        if value is not None:
            value.close()  # type: ignore[attr-defined]
            _log.info("closed %s in process %d", type(value).__name__, os.getpid())

    def reset(self) -> providers.SingletonResetContext:
        """Start anew, as ``reset`` of dependency-injector's singletons does; here, the old value is closed as well.

        Returns:
            A context manager, which resets once more when it is left.
        """
        self.shutdown()
        return providers.SingletonResetContext(self)

    def _start_empty(self) -> None:
        if self._value is not None:
            _inherited.append(self._value)
        self._value = None
        self._lock = threading.RLock()


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
            slot = _Slot(_make(self, args, kwargs), loop)
            slots = _slots(loop)
            if self in slots and not slots[self].is_ours:
                _inherited.append(slots[self])
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


_SLOTS = "_app_container_slots"
_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
_singletons: weakref.WeakKeyDictionary[ProcessSingleton[Any], int] = weakref.WeakKeyDictionary()
_order = itertools.count()
_inherited: list[Any] = []  # keeps a parent's values from being finalised, and so perhaps closed, in a child


def _make(provider: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return providers.Callable(provider.provides, *provider.args, **provider.kwargs)(*args, **kwargs)


def _slots(loop: asyncio.AbstractEventLoop) -> dict[LoopLocalResource[Any], _Slot]:
    slots: dict[LoopLocalResource[Any], _Slot] | None = loop.__dict__.get(_SLOTS)
    if slots is None:
        slots = loop.__dict__[_SLOTS] = {}
        _loops.add(loop)
        _close_slots_before_the_loop(loop)
    return slots


def _close_slots_before_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    close_loop = loop.close

    def close() -> None:
        if not loop.is_closed() and not loop.is_running() and _open_slots(loop):
            loop.run_until_complete(_close_slots(loop))
        close_loop()

    loop.close = close  # type: ignore[method-assign]


def _open_slots(loop: asyncio.AbstractEventLoop) -> list[_Slot]:
    return [slot for slot in loop.__dict__.get(_SLOTS, {}).values() if slot.is_open]


async def _close_slots(loop: asyncio.AbstractEventLoop) -> None:
    await asyncio.gather(*(slot.close() for slot in _open_slots(loop)), return_exceptions=True)


@atexit.register
def _close_everything() -> None:
    for provider in sorted(_singletons, key=lambda provider: _singletons[provider], reverse=True):
        with suppress(Exception):
            provider.shutdown()
    for loop in list(_loops):
        if loop.is_closed() or not _open_slots(loop):
            continue
        with suppress(Exception):
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(_close_slots(loop), loop).result(CLOSE_TIMEOUT)
            else:
                loop.run_until_complete(_close_slots(loop))


def _start_empty_after_fork() -> None:
    # dependency-injector shares one lock among all of these, and another thread of the parent may have held it.
    providers.ThreadSafeSingleton.storage_lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001
    _loops.clear()
    for provider in list(_singletons):
        provider._start_empty()  # noqa: SLF001 - the same module


os.register_at_fork(after_in_child=_start_empty_after_fork)
