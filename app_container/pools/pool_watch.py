"""Lets somebody watch the pool of a driver, which has no listeners of its own.

Methods of that one pool are replaced, on the object; classes stay as they are. What the driver keeps for itself may
change with any version (this was written for neo4j 6.0 to 6.4), so it is looked for first, and where it is missing the
pool is not watched. A watcher that fails is told nothing more, and the driver never notices.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable
from typing import Any

NEEDED = (
    "opener", "_acquire", "release", "kill_and_release", "close",
    "pool_config", "connections", "connections_reservations",
)  # fmt: skip
"""What a pool must have."""

_Methods = tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any], Callable[..., Any]]
_log = logging.getLogger("app_container")


class PoolWatcher:
    """Is told what happens in one pool, in the thread where it happens. Times are in seconds.

    What a subclass does not override costs nothing.
    """

    def acquiring(self, address: Any) -> None:
        """Somebody asks for a connection."""

    def acquired(self, address: Any, connection: Any, seconds: float) -> None:
        """They have one, after so long."""

    def not_acquired(self, address: Any, error: BaseException) -> None:
        """They have none."""

    def creating(self, address: Any) -> None:
        """A connection is being opened."""

    def created(self, address: Any, connection: Any, seconds: float) -> None:
        """It is open and logged in, after so long."""

    def not_created(self, address: Any) -> None:
        """It could not be opened."""

    def released(self, connection: Any) -> None:
        """A connection that was acquired is given back, or given up."""

    def closed(self) -> None:
        """The pool is closed."""


def watch_pool(pool: Any, watcher: PoolWatcher) -> None:
    """From now on, tell ``watcher`` what happens in ``pool``, which nobody has used yet.

    Args:
        pool: ``driver._pool``, of a sync or an async driver.
        watcher: what it raises is logged, once, and it is told no more.

    Raises:
        AttributeError: this version of the driver keeps its pool in another way; nothing is watched.
    """
    missing = [name for name in NEEDED if not hasattr(pool, name)]
    if missing:
        raise AttributeError(f"{type(pool).__name__} has no {', '.join(missing)}")
    told = _Told(watcher)
    is_async = inspect.iscoroutinefunction(pool._acquire)  # noqa: SLF001 - neo4j 6 has no public way
    acquire, opener, release, close = (_async_methods if is_async else _sync_methods)(pool, told)
    kill_and_release = pool.kill_and_release  # never a coroutine

    def watched_kill_and_release(*connections: Any) -> None:
        kill_and_release(*connections)
        told.released(connections)  # afterwards, so that it is seen that they are closed

    if told.is_for("acquiring", "acquired", "not_acquired"):
        pool._acquire = acquire  # noqa: SLF001 - see above
    if told.is_for("creating", "created", "not_created"):
        pool.opener = opener
    if told.is_for("released"):
        pool.release, pool.kill_and_release = release, watched_kill_and_release
    if told.is_for("closed"):
        pool.close = close


class _Told:
    """A watcher, until it fails; then one that does nothing.

    Args:
        watcher: the watcher.
    """

    def __init__(self, watcher: PoolWatcher) -> None:
        self.watcher = watcher
        self._class = type(watcher)

    def is_for(self, *names: str) -> bool:
        """Whether the watcher wants to be told any of these."""
        return any(getattr(self._class, name) is not getattr(PoolWatcher, name) for name in names)

    # What comes with each query is told without a detour.

    def acquiring(self, address: Any) -> None:
        try:
            self.watcher.acquiring(address)
        except Exception:  # noqa: BLE001 - a query must not fail because it is counted
            self._give_up()

    def acquired(self, address: Any, connection: Any, seconds: float) -> None:
        try:
            self.watcher.acquired(address, connection, seconds)
        except Exception:  # noqa: BLE001 - the same
            self._give_up()

    def released(self, connections: tuple[Any, ...]) -> None:
        try:
            for connection in connections:
                self.watcher.released(connection)
        except Exception:  # noqa: BLE001 - the same
            self._give_up()

    def tell(self, method: str, *args: Any) -> None:
        """Tell something that is rare."""
        try:
            getattr(self.watcher, method)(*args)
        except Exception:  # noqa: BLE001 - the same
            self._give_up()

    def _give_up(self) -> None:
        self.watcher = PoolWatcher()
        _log.warning("a pool of the Neo4j driver is not watched any more; queries go on", exc_info=True)


def _sync_methods(pool: Any, told: _Told) -> _Methods:
    acquire, opener, release, close = pool._acquire, pool.opener, pool.release, pool.close  # noqa: SLF001 - see above

    def watched_acquire(address: Any, *args: Any, **kwargs: Any) -> Any:
        told.acquiring(address)
        started = time.perf_counter()
        try:
            connection = acquire(address, *args, **kwargs)
        except BaseException as error:
            told.tell("not_acquired", address, error)
            raise
        told.acquired(address, connection, time.perf_counter() - started)
        return connection

    def watched_opener(address: Any, *args: Any, **kwargs: Any) -> Any:
        told.tell("creating", address)
        started = time.perf_counter()
        try:
            connection = opener(address, *args, **kwargs)
        except BaseException:
            told.tell("not_created", address)
            raise
        told.tell("created", address, connection, time.perf_counter() - started)
        return connection

    def watched_release(*connections: Any) -> None:
        told.released(connections)
        release(*connections)

    def watched_close() -> None:
        told.tell("closed")
        close()

    return watched_acquire, watched_opener, watched_release, watched_close


def _async_methods(pool: Any, told: _Told) -> _Methods:
    acquire, opener, release, close = pool._acquire, pool.opener, pool.release, pool.close  # noqa: SLF001 - see above

    async def watched_acquire(address: Any, *args: Any, **kwargs: Any) -> Any:
        told.acquiring(address)
        started = time.perf_counter()
        try:
            connection = await acquire(address, *args, **kwargs)
        except BaseException as error:
            told.tell("not_acquired", address, error)
            raise
        told.acquired(address, connection, time.perf_counter() - started)
        return connection

    async def watched_opener(address: Any, *args: Any, **kwargs: Any) -> Any:
        told.tell("creating", address)
        started = time.perf_counter()
        try:
            connection = await opener(address, *args, **kwargs)
        except BaseException:
            told.tell("not_created", address)
            raise
        told.tell("created", address, connection, time.perf_counter() - started)
        return connection

    async def watched_release(*connections: Any) -> None:
        told.released(connections)
        await release(*connections)

    async def watched_close() -> None:
        told.tell("closed")
        await close()

    return watched_acquire, watched_opener, watched_release, watched_close
