"""Tells of what the application forgot to close, each with one line in the log and one more in a figure.

Four things are told: a session that is garbage and was not closed; the same of a driver; an event loop that was closed
with a driver open; and a session that has had a connection for longer than ``neo4j.leak_detection_threshold``, as
HikariCP's ``leakDetectionThreshold`` does. No thread watches for it. It is looked for whenever a session is opened or
gives its connection back, and when figures are collected, which a worker does once a second.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from app_container.leaks.call_site import CallSite, call_site
from app_container.leaks.found_leaks import note, tell_found
from app_container.leaks.lent_connections import Lending, LentConnections
from app_container.leaks.lost_sessions import watch_sessions

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

Kind = Literal["session", "driver", "loop", "overdue"]

_USE = "use `with driver.session() as session:`, on an event loop `async with`"
_WATCH = "_app_container_watch"
_log = logging.getLogger("app_container")


class Leaks:
    """Counts the leaks of a process, and logs them.

    Args:
        registry: where the figure is collected.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter

        registry.register(self)  # first, so that the figure has what is found when it is collected
        # Agroal, which has such a figure, calls it agroal_leak_detection_count_total.
        detected = Counter(
            "neo4j_driver_leaks_detected",
            "Sessions and drivers that nobody closed, and sessions that had a connection for too long.",
            ["kind"],
            registry=registry,
        )
        kinds: tuple[Kind, ...] = ("session", "driver", "loop", "overdue")
        self._detected = {kind: detected.labels(kind) for kind in kinds}
        self._lock = threading.Lock()
        self._pools: weakref.WeakSet[LentConnections] = weakref.WeakSet()
        self._cannot_watch = False

    def collect(self) -> Iterable[Metric]:
        """Look, before figures are collected; there are no others here."""
        tell_found()
        with self._lock:
            pools = list(self._pools)
        for pool in pools:
            pool.look()
        return ()

    def watch(self, driver: Any, threshold: float) -> None:
        """Watch a driver that nobody has used yet, and its sessions.

        Args:
            driver: a sync or an async one. If its sessions work in a way that is not known here, that is logged, once,
                and they are not watched; nor if its pool does, which is logged where the pool's figures are made.
            threshold: seconds after which a session is told that still has its connection; 0 for never.
        """
        watch = _DriverWatch(self)
        setattr(driver, _WATCH, watch)
        weakref.finalize(driver, watch.finalised).atexit = False
        try:
            pool = LentConnections(driver._pool, threshold, self._tell_overdue, watch.closed)  # noqa: SLF001 - neo4j 6 has no public way
        except AttributeError:
            watch.closed()  # for nobody would tell when it is
            return
        with self._lock:
            self._pools.add(pool)
        try:
            watch_sessions(driver, pool, self._lost)
        except AttributeError as error:
            if not self._cannot_watch:
                self._cannot_watch = True
                _log.warning("lost sessions are not noticed in this version of the Neo4j driver: %s", error)

    def tell(self, kind: Kind, line: str, *args: object) -> None:
        """Log and count a leak."""
        self._detected[kind].inc()
        _log.warning(line, *args)

    def _lost(self, opened: CallSite, outcome: str) -> None:
        self.tell("session", "a session was never closed%s; it was opened %s; %s", outcome, opened, _USE)

    def _tell_overdue(self, lending: Lending) -> bool:
        self.tell(
            "overdue",
            "a session has had a connection for %.1f s, more than neo4j.leak_detection_threshold; it was opened %s; "
            "end its transaction, consume() its result, or %s; else set NEO4J_LEAK_DETECTION_THRESHOLD",
            time.monotonic() - lending.since, lending.session_opened, _USE,
        )  # fmt: skip
        return True


def tell_closed_with_loop(driver: Any) -> None:
    """Tell that an event loop is being closed while its driver is open, if that driver is watched."""
    watch: _DriverWatch | None = getattr(driver, _WATCH, None)
    if watch is not None:
        watch.loop_closed(call_site())


class _DriverWatch:
    """What is known of a driver when it is gone."""

    def __init__(self, leaks: Leaks) -> None:
        self._leaks = leaks
        self._opened = call_site()
        self._pid = os.getpid()
        self._is_closed = False

    def closed(self) -> None:
        self._is_closed = True

    def finalised(self) -> None:
        if not self._is_closed and self._pid == os.getpid():
            note(self._tell)

    def loop_closed(self, closed: CallSite) -> None:
        self._leaks.tell(
            "loop",
            "an event loop was closed before its async driver, at %s; the driver, closed now, was opened %s; "
            "use asyncio.run(), or await container.shutdown_resources() before loop.close()",
            closed.place, self._opened,
        )  # fmt: skip

    def _tell(self) -> bool:
        self._leaks.tell(
            "driver",
            "a driver was never closed; it was opened %s; call container.shutdown_resources() before its container or "
            "event loop is given up",
            self._opened,
        )
        return True
