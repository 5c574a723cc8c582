"""One pool that is watched: what happens in it, counted; and what is there at this moment."""

from __future__ import annotations

import inspect
import threading
import time
from collections import Counter as Tally
from typing import TYPE_CHECKING, Any

from app_container.pools.pool_watch import PoolWatcher

if TYPE_CHECKING:
    from app_container.pools.pool_metrics import PoolMetrics


class WatchedPool(PoolWatcher):
    """Is told by ``watch_pool`` what happens in a pool, and counts it.

    Args:
        pool: the driver's.
        name: what it is called in the figures.
        metrics: where it is counted.
    """

    def __init__(self, pool: Any, name: str, metrics: PoolMetrics) -> None:
        self.name = name
        self._pool = pool
        self._is_async = inspect.iscoroutinefunction(pool.close)
        self._size = pool.pool_config.max_connection_pool_size
        self._metrics = metrics
        self._lock = threading.Lock()
        self._is_closed = False
        self._since: dict[Any, tuple[float, _Counting]] = {}
        self._creating: Tally[Any] = Tally()
        self._counting: dict[Any, _Counting] = {}

    def look(self) -> dict[str, Tally[str]]:
        """The connections by address, and by whether they are in use, idle, or on their way into the pool."""
        found: dict[str, Tally[str]] = {}
        pool = self._pool
        for address in {*pool.connections, *self._counting}:
            reserved = pool.connections_reservations.get(address, 0)  # first: what becomes a connection is seen twice
            connections = [each for each in list(pool.connections.get(address, ())) if not self._is_gone(each)]
            in_use = sum(each.in_use for each in connections)
            creating = self._creating[address]
            opened = max(0, reserved - creating)
            found[str(address)] = Tally(
                in_use=in_use,
                idle=len(connections) - in_use,
                creating=creating,
                opened=opened,
                acquiring=self._count_acquiring(address),
                max=self._size,
            )
        return found

    def acquiring(self, address: Any) -> None:
        """A session asks for a connection, and may find that there is none."""
        counting = self._for(address)
        with self._lock:
            counting.sessions += 1
            counting.peak.note(counting.sessions)
        if self._is_full(address):
            counting.waited.inc()

    def acquired(self, address: Any, connection: Any, seconds: float) -> None:
        """It has one."""
        counting = self._for(address)
        counting.acquisition.observe(seconds)
        self._since[connection] = time.perf_counter(), counting

    def not_acquired(self, address: Any, error: BaseException) -> None:
        """It has none."""
        from neo4j.exceptions import ConnectionAcquisitionTimeoutError

        counting = self._for(address)
        with self._lock:
            counting.sessions -= 1
        if isinstance(error, ConnectionAcquisitionTimeoutError):
            counting.timed_out.inc()

    def creating(self, address: Any) -> None:
        """A connection is being opened."""
        self._for(address)
        self._count_creating(address, 1)

    def created(self, address: Any, connection: Any, seconds: float) -> None:  # noqa: ARG002 - a watcher's
        """It is open."""
        self._count_creating(address, -1)
        self._metrics.opened((self.name, str(address)))
        counting = self._for(address)
        counting.created.inc()
        counting.creation.observe(seconds)

    def not_created(self, address: Any) -> None:
        """It could not be opened."""
        self._count_creating(address, -1)
        self._for(address).failed.inc()

    def released(self, connection: Any) -> None:
        """A session gives one back."""
        started, counting = self._since.pop(connection, (0.0, None))
        if counting is None:  # the driver gives one back that it did not hand out
            return
        counting.usage.observe(time.perf_counter() - started)
        with self._lock:
            counting.sessions -= 1
        if not (connection.closed() or connection._defunct):  # noqa: SLF001 - see _is_gone
            self._metrics.last_success[counting.key] = time.time()

    def closed(self) -> None:
        """The driver is closed."""
        if not self._is_closed:
            self._is_closed = True
            self._metrics.drivers_closed.labels(self.name).inc()

    def _count_creating(self, address: Any, change: int) -> None:
        with self._lock:
            self._creating[address] += change

    def _count_acquiring(self, address: Any) -> int:
        counting = self._counting.get(address)
        if counting is None:
            return 0
        lent = sum(each is counting for _, each in list(self._since.values()))
        return max(0, counting.sessions - lent)

    def _is_full(self, address: Any) -> bool:
        pool = self._pool
        connections = pool.connections.get(address, ())
        if len(connections) + pool.connections_reservations.get(address, 0) < self._size:
            return False
        return all(each.in_use for each in list(connections))

    def _is_gone(self, connection: Any) -> bool:
        """Whether it is closed, or known to be broken; from any thread.

        ``defunct()`` of a sync connection takes a byte from the socket, also from an answer for which another thread
        waits, and which is then never whole. So there it counts as broken when the driver has found out.
        """
        if connection.closed() or connection._defunct:  # noqa: SLF001 - see above
            return True
        return self._is_async and bool(connection.defunct())

    def _for(self, address: Any) -> _Counting:
        counting = self._counting.get(address)
        if counting is None:
            counting = self._counting[address] = _Counting(self._metrics, (self.name, str(address)))
        return counting


class _Counting:
    """The counters of one pool and address, looked up once; and its sessions that have or want a connection."""

    def __init__(self, metrics: PoolMetrics, labels: tuple[str, str]) -> None:
        self.created = metrics.created.labels(*labels)
        self.failed = metrics.failed.labels(*labels)
        self.waited = metrics.waited.labels(*labels)
        self.timed_out = metrics.timed_out.labels(*labels)
        self.acquisition = metrics.acquisition.labels(*labels)
        self.creation = metrics.creation.labels(*labels)
        self.usage = metrics.usage.labels(*labels)
        self.peak = metrics.peak(labels)
        self.key = labels
        self.sessions = 0
