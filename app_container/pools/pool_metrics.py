"""The figures of connection pools, by the names under which the Java driver's are known.

The names are those of Micrometer's ``neo4j.driver.connections.*`` (``MicrometerConnectionPoolMetrics`` of the Java
driver), written as Prometheus does. What Micrometer keeps as timers are histograms here, in seconds.
"""

from __future__ import annotations

import logging
import math
import threading
import weakref
from collections import Counter as Tally
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from app_container.pools.pool_totals import PoolTotals
from app_container.pools.pool_watch import watch_pool
from app_container.pools.watched_pool import WatchedPool

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

LABELS = ("pool", "address")
UNKNOWN = "unknown"

Key = tuple[str, str]
"""The name of pools, and the address of their server."""

_PREFIX = "neo4j_driver_connections"
_STATES = {
    "in_use": "Connections lent to sessions.",
    "idle": "Connections that are open and wait to be used.",
    "creating": "Connections that are being opened.",
    "acquiring": "Sessions that ask for a connection.",
    "max": "Connections that there may be.",
}
_COUNTS = {
    "created": ("created", "Connections that were opened."),
    "closed": ("closed", "Connections that were closed, or found broken."),
    "failed": ("failed", "Connections that could not be opened."),
    "acquired": ("acquired", "Connections that sessions were given."),
    "waited": ("waited", "Sessions that found the pool full and had to wait."),
    "timed_out": ("acquisition_timeout", "Sessions that were given no connection in time."),
}
_TIMES = {
    "acquisition": "How long sessions asked for a connection.",
    "creation": "How long it took to open a connection.",
    "usage": "How long sessions kept a connection.",
}
_log = logging.getLogger("app_container")


class PoolMetrics:
    """Counts what happens in the pools of a process, and looks into them when it is asked for figures.

    Args:
        registry: where the figures are collected.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter

        self._opened = Counter("neo4j_driver_opened", "Drivers that were made.", ["lifetime"], registry=registry)
        self._closed = Counter("neo4j_driver_closed", "Drivers that were closed.", ["lifetime"], registry=registry)
        self._lock = threading.Lock()
        self._watched: weakref.WeakSet[WatchedPool] = weakref.WeakSet()
        self._totals: dict[Key, PoolTotals] = {}
        self._unknown: set[str] = set()
        registry.register(self)

    def watch(self, driver: Any, name: str) -> None:
        """Watch the pool of a driver that nobody has used yet.

        Args:
            driver: a sync or an async one. If it keeps its pool in a way that is not known here, that is logged once,
                and the figures of this pool are unknown (NaN).
            name: the lifetime of the driver, and what its pool is called in the figures; pools may share one, and are
                added up then.
        """
        self._opened.labels(name).inc()
        closed = self._closed.labels(name)  # 0 from the beginning, or nothing could be subtracted
        try:
            pool = driver._pool  # noqa: SLF001 - neo4j 6 has no public way
            watched = WatchedPool(pool, name, lambda address: self._of((name, address)), closed.inc)
            watch_pool(pool, watched)
        except AttributeError as error:
            self._is_unknown(name, error)
        else:
            with self._lock:
                self._watched.add(watched)

    def collect(self) -> Iterator[Metric]:
        """The counts, and what is seen in the pools at this moment."""
        with self._lock:
            totals = self._totals.copy()
        created = {key: each.created for key, each in totals.items()}  # before the look: else new ones seem closed
        states = self._look()
        for key, each in totals.items():
            # The driver tells of no end, so it follows from what is left; a count never goes back.
            left = states.get(key, Tally())
            each.closed = max(each.closed, created[key] - left["in_use"] - left["idle"] - left["opened"])
        yield from self._gauges(states)
        yield from _counters(totals)
        yield from _histograms(totals)
        yield from _marks(totals)

    def _gauges(self, states: dict[Key, Tally[str]]) -> Iterator[Metric]:
        from prometheus_client.metrics_core import GaugeMetricFamily

        for state, what in _STATES.items():
            gauge = GaugeMetricFamily(f"{_PREFIX}_{state}", what, labels=LABELS)
            for key, found in states.items():
                gauge.add_metric(key, found[state])
            for name in self._unknown:
                gauge.add_metric((name, UNKNOWN), math.nan)
            yield gauge

    def _of(self, key: Key) -> PoolTotals:
        with self._lock:
            return self._totals.setdefault(key, PoolTotals())

    def _look(self) -> dict[Key, Tally[str]]:
        states: dict[Key, Tally[str]] = {}
        with self._lock:
            pools = list(self._watched)
        for watched in pools:
            try:
                seen = watched.look()
            except Exception as error:  # noqa: BLE001 - the other figures are still there
                with self._lock:
                    self._watched.discard(watched)
                self._is_unknown(watched.name, error)
                continue
            for address, found in seen.items():
                states.setdefault((watched.name, address), Tally()).update(found)
        return states

    def _is_unknown(self, name: str, error: Exception) -> None:
        if not self._unknown:
            _log.warning("the figures of the Neo4j driver's pool are unknown in this version of it: %s", error)
        self._unknown.add(name)


def _counters(totals: dict[Key, PoolTotals]) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily

    for count, (name, what) in _COUNTS.items():
        counter = CounterMetricFamily(f"{_PREFIX}_{name}", what, labels=LABELS)
        for key, each in totals.items():
            counter.add_metric(key, getattr(each, count))
        yield counter


def _histograms(totals: dict[Key, PoolTotals]) -> Iterator[Metric]:
    from prometheus_client.metrics_core import HistogramMetricFamily

    for name, what in _TIMES.items():
        histogram = HistogramMetricFamily(f"{_PREFIX}_{name}_seconds", what, labels=LABELS)
        for key, each in totals.items():
            durations = getattr(each, name)
            with each.lock:
                buckets, seconds = list(durations.buckets()), durations.total
            histogram.add_metric(key, buckets, seconds)
        yield histogram


def _marks(totals: dict[Key, PoolTotals]) -> Iterator[Metric]:
    from prometheus_client.metrics_core import GaugeMetricFamily

    what = "Sessions that had or wanted a connection at once, the most of 24 h."
    peak = GaugeMetricFamily(f"{_PREFIX}_peak", what, labels=LABELS)
    name, what = (
        "neo4j_driver_last_success_timestamp_seconds",
        "When a connection was last used and given back in order.",
    )
    success = GaugeMetricFamily(name, what, labels=LABELS)
    for key, each in totals.items():
        peak.add_metric(key, each.peak.last_day())
        if each.last_success:
            success.add_metric(key, each.last_success)
    yield peak
    yield success
