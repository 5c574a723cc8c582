"""One value per process."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import weakref
from typing import Any, Generic, TypeVar

from dependency_injector import providers

from app_container.errors import describe

T = TypeVar("T")
_log = logging.getLogger("app_container")


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
                    value = self._value = build(self, args, kwargs)
                    _singletons[self] = next(_order)  # again: what it was made from is older
                    self._tell_opened(value)
        return value

    def _tell_opened(self, value: T) -> None:
        _log.info("opened %s in process %d", type(value).__name__, os.getpid())

    @property
    def initialized(self) -> bool:
        """Whether this process has a value now."""
        return self._value is not None

    def shutdown(self) -> None:
        """Close the value of this process, if there is one. One that fails to close is logged, and given up."""
        with self._lock:
            value, self._value = self._value, None
        if value is None:
            return
        name = type(value).__name__
        try:
            value.close()  # type: ignore[attr-defined]
        except Exception as error:  # noqa: BLE001 - it must not keep others from being closed
            _log.warning("%s in process %d did not close: %s", name, os.getpid(), describe(error))
        else:
            _log.info("closed %s in process %d", name, os.getpid())

    def reset(self) -> providers.SingletonResetContext:
        """Start anew, as ``reset`` of dependency-injector's singletons does; here, the old value is closed as well.

        Returns:
            A context manager, which resets once more when it is left.
        """
        self.shutdown()
        return providers.SingletonResetContext(self)

    def _start_empty(self) -> None:
        if self._value is not None:
            keep_inherited(self._value)
        self._value = None
        self._lock = threading.RLock()


class KeptProcessSingleton(ProcessSingleton[T], Generic[T]):
    """The same for a value that has nothing to close: it is never shut down, so what it knows is not lost."""

    @property
    def initialized(self) -> bool:
        """Whether there is something to shut down: never."""
        return False

    def shutdown(self) -> None:
        """Leave it."""

    def _tell_opened(self, value: T) -> None:
        """Say nothing: it is not to be closed, either."""


_singletons: weakref.WeakKeyDictionary[ProcessSingleton[Any], int] = weakref.WeakKeyDictionary()
_order = itertools.count()
_inherited: list[Any] = []


def keep_inherited(value: Any) -> None:
    """Keep a parent's value from being finalised, and so perhaps closed, in a child."""
    _inherited.append(value)


def build(provider: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call what ``provider`` provides, with what is injected into it and with ``args`` and ``kwargs``."""
    return providers.Callable(provider.provides, *provider.args, **provider.kwargs)(*args, **kwargs)


def close_singletons() -> None:
    """Close all values of this process, last opened first."""
    for provider, _ in sorted(_singletons.items(), key=lambda item: item[1], reverse=True):
        provider.shutdown()


def start_singletons_empty() -> None:
    """Forget, in a forked child, what the parent has."""
    # dependency-injector shares one lock among all its singletons, and another thread of the parent may have held it.
    providers.ThreadSafeSingleton.storage_lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001
    for provider in list(_singletons):
        provider._start_empty()  # noqa: SLF001 - the same module
