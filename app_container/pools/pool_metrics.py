"""The figures of connection pools, by the names under which the Java driver's are known.

The names are those of Micrometer's ``neo4j.driver.connections.*`` (``MicrometerConnectionPoolMetrics`` of the Java
driver), written as Prometheus does. What Micrometer keeps as timers are histograms here, in seconds, with the limits
that OpenTelemetry's semantic conventions name for database clients.
"""

from __future__ import annotations

import logging
import math
import threading
import weakref
from collections import Counter as Tally
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from app_container.pools.peaks import DailyPeak
from app_container.pools.pool_watch import watch_pool
from app_container.pools.watched_pool import WatchedPool

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
LABELS = ("pool", "address")
UNKNOWN = "unknown"

_PREFIX = "neo4j_driver_connections"
_STATES = {
    "in_use": "Connections lent to sessions.",
    "idle": "Connections that are open and wait to be used.",
    "creating": "Connections that are being opened.",
    "acquiring": "Sessions that ask for a connection.",
    "max": "Connections that there may be.",
}
_log = logging.getLogger("app_container")


class PoolMetrics:
    """Counts what happens in the pools of a process, and looks into them when it is asked for figures.

    Args:
        registry: where the figures are collected.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Histogram

        def counter(name: str, what: str) -> Counter:
            return Counter(f"{_PREFIX}_{name}", what, LABELS, registry=registry)

        def seconds(name: str, what: str) -> Histogram:
            return Histogram(f"{_PREFIX}_{name}_seconds", what, LABELS, buckets=SECONDS, registry=registry)

        self.created = counter("created", "Connections that were opened.")
        self.failed = counter("failed", "Connections that could not be opened.")
        self.waited = counter("waited", "Sessions that found the pool full and had to wait.")
        self.timed_out = counter("acquisition_timeout", "Sessions that were given no connection in time.")
        self.acquisition = seconds("acquisition", "How long sessions asked for a connection.")
        self.creation = seconds("creation", "How long it took to open a connection.")
        self.usage = seconds("usage", "How long sessions kept a connection.")
        self.last_success: dict[tuple[str, str], float] = {}
        self.drivers_opened = Counter("neo4j_driver_opened", "Drivers that were made.", ["lifetime"], registry=registry)
        self.drivers_closed = Counter(
            "neo4j_driver_closed", "Drivers that were closed.", ["lifetime"], registry=registry
        )
        self._lock = threading.Lock()
        self._watched: weakref.WeakSet[WatchedPool] = weakref.WeakSet()
        self._peaks: dict[tuple[str, str], DailyPeak] = {}
        self._opened: Tally[tuple[str, str]] = Tally()
        self._closed: Tally[tuple[str, str]] = Tally()
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
        self.drivers_opened.labels(name).inc()
        self.drivers_closed.labels(name)  # 0 from the beginning, or nothing could be subtracted
        try:
            pool = driver._pool  # noqa: SLF001 - neo4j 6 has no public way
            watched = WatchedPool(pool, name, self)
            watch_pool(pool, watched)
        except AttributeError as error:
            self._is_unknown(name, error)
        else:
            with self._lock:
                self._watched.add(watched)

    def _is_unknown(self, name: str, error: Exception) -> None:
        if not self._unknown:
            _log.warning("the figures of the Neo4j driver's pool are unknown in this version of it: %s", error)
        self._unknown.add(name)

    def opened(self, key: tuple[str, str]) -> None:
        """Count a connection that was opened, for what is derived from it."""
        with self._lock:
            self._opened[key] += 1

    def peak(self, key: tuple[str, str]) -> DailyPeak:
        """Where the most sessions of the day that had or wanted a connection at once are kept."""
        return self._peaks.setdefault(key, DailyPeak())

    def collect(self) -> Iterator[Metric]:
        """What is seen in the pools at this moment."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        with self._lock:
            opened = self._opened.copy()  # before the look: one that is opened meanwhile is not taken for closed
        states, open_now = self._look()
        for state, what in _STATES.items():
            gauge = GaugeMetricFamily(f"{_PREFIX}_{state}", what, labels=LABELS)
            for key, found in states.items():
                gauge.add_metric(key, found[state])
            for name in self._unknown:
                gauge.add_metric((name, UNKNOWN), math.nan)
            yield gauge
        peak = GaugeMetricFamily(
            f"{_PREFIX}_peak", "Sessions that had or wanted a connection at once, the most of 24 h.", labels=LABELS
        )
        for key, daily in self._peaks.copy().items():
            peak.add_metric(key, daily.last_day())
        yield peak
        success = GaugeMetricFamily(
            "neo4j_driver_last_success_timestamp_seconds",
            "When a connection was last used and given back in order.",
            labels=LABELS,
        )
        for key, when in self.last_success.copy().items():
            success.add_metric(key, when)
        yield success
        acquired = CounterMetricFamily(f"{_PREFIX}_acquired", "Connections that sessions were given.", labels=LABELS)
        for metric in self.acquisition.collect():
            for sample in metric.samples:
                if sample.name.endswith("_count"):
                    acquired.add_metric([sample.labels[label] for label in LABELS], sample.value)
        yield acquired
        closed = CounterMetricFamily(
            f"{_PREFIX}_closed", "Connections that were closed, or found broken.", labels=LABELS
        )
        with self._lock:
            for key, count in opened.items():
                # The driver tells of no end, so it follows from what is left; a count never goes back.
                self._closed[key] = max(self._closed[key], count - open_now[key])
                closed.add_metric(key, self._closed[key])
        yield closed

    def _look(self) -> tuple[dict[tuple[str, str], Tally[str]], Tally[tuple[str, str]]]:
        states: dict[tuple[str, str], Tally[str]] = {}
        open_now: Tally[tuple[str, str]] = Tally()
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
                open_now[watched.name, address] += found["in_use"] + found["idle"] + found["opened"]
        return states, open_now
