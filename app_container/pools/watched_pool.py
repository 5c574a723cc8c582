"""One pool that is watched: what happens in it, counted; and what is there at this moment."""

from __future__ import annotations

import inspect
import time
from collections import Counter as Tally
from collections.abc import Callable
from typing import Any

from app_container.pools.pool_totals import PoolTotals
from app_container.pools.pool_watch import PoolWatcher


class WatchedPool(PoolWatcher):
    """Is told by ``watch_pool`` what happens in a pool, and counts it.

    Args:
        pool: the driver's.
        name: what it is called in the figures.
        totals: where it is counted, for a server's address.
        driver_closed: is called once, when the pool is closed.
    """

    def __init__(
        self, pool: Any, name: str, totals: Callable[[str], PoolTotals], driver_closed: Callable[[], None]
    ) -> None:
        self.name = name
        self._pool = pool
        self._is_async = inspect.iscoroutinefunction(pool.close)
        self._size = pool.pool_config.max_connection_pool_size
        self._totals = totals
        self._driver_closed = driver_closed
        self._is_closed = False
        self._lent: dict[Any, tuple[float, _Server]] = {}
        self._servers: dict[Any, _Server] = {}

    def look(self) -> dict[str, Tally[str]]:
        """The connections by address, and by whether they are in use, idle, or on their way into the pool."""
        found: dict[str, Tally[str]] = {}
        pool = self._pool
        for address in {*pool.connections, *self._servers}:
            reserved = pool.connections_reservations.get(address, 0)  # first: what becomes a connection is seen twice
            connections = [each for each in list(pool.connections.get(address, ())) if not self._is_gone(each)]
            in_use = sum(each.in_use for each in connections)
            server = self._server(address)
            lent = sum(each is server for _, each in list(self._lent.values()))
            found[str(address)] = Tally(
                in_use=in_use,
                idle=len(connections) - in_use,
                creating=server.creating,
                opened=max(0, reserved - server.creating),
                acquiring=max(0, server.sessions - lent),
                max=self._size,
            )
        return found

    def acquiring(self, address: Any) -> None:
        """A session asks for a connection, and may find that there is none."""
        server = self._servers.get(address) or self._server(address)
        totals = server.totals
        is_full = self._is_full(address)
        with totals.lock:
            server.sessions += 1
            totals.peak.note(server.sessions)
            totals.waited += is_full

    def acquired(self, address: Any, connection: Any, seconds: float) -> None:
        """It has one."""
        server = self._servers[address]
        with server.totals.lock:
            server.totals.acquisition.add(seconds)
        self._lent[connection] = time.perf_counter(), server

    def not_acquired(self, address: Any, error: BaseException) -> None:
        """It has none."""
        from neo4j.exceptions import ConnectionAcquisitionTimeoutError

        server = self._servers[address]
        with server.totals.lock:
            server.sessions -= 1
            server.totals.timed_out += isinstance(error, ConnectionAcquisitionTimeoutError)

    def creating(self, address: Any) -> None:
        """A connection is being opened."""
        server = self._server(address)
        with server.totals.lock:
            server.creating += 1

    def created(self, address: Any, connection: Any, seconds: float) -> None:  # noqa: ARG002 - a watcher's
        """It is open."""
        server = self._servers[address]
        with server.totals.lock:
            server.creating -= 1
            server.totals.created += 1
            server.totals.creation.add(seconds)

    def not_created(self, address: Any) -> None:
        """It could not be opened."""
        server = self._servers[address]
        with server.totals.lock:
            server.creating -= 1
            server.totals.failed += 1

    def released(self, connection: Any) -> None:
        """A session gives one back."""
        lent = self._lent.pop(connection, None)
        if lent is None:  # the driver gives one back that it did not hand out
            return
        since, server = lent
        totals = server.totals
        with totals.lock:
            server.sessions -= 1
            totals.usage.add(time.perf_counter() - since)
        if not (connection.closed() or connection._defunct):  # noqa: SLF001 - see _is_gone
            totals.last_success = time.time()

    def closed(self) -> None:
        """The driver is closed."""
        if not self._is_closed:
            self._is_closed = True
            self._driver_closed()

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

    def _server(self, address: Any) -> _Server:
        return self._servers.setdefault(address, _Server(self._totals(str(address))))


class _Server:
    """One server of a pool: its sessions that have or want a connection, and its connections that are being opened."""

    __slots__ = ("creating", "sessions", "totals")

    def __init__(self, totals: PoolTotals) -> None:
        self.totals = totals
        self.sessions = 0
        self.creating = 0
