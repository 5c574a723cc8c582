"""The metrics of connection pools and queries, by OpenTelemetry's semantic conventions for database clients."""

from __future__ import annotations

import functools
import math
import os
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from opentelemetry.metrics import CallbackOptions, Histogram, Observation

from app_container.metrics import Metrics
from app_container.pools.pool_totals import SECONDS
from app_container.pools.pool_watch import PoolWatcher
from wiring.opentelemetry.queries import end_queries, watch_queries
from wiring.opentelemetry.scope import meter

POOL = "db.client.connection.pool.name"
STATE = "db.client.connection.state"

_FIGURES = "neo4j_driver_connections_"
_observed: weakref.WeakSet[Metrics] = weakref.WeakSet()
os.register_at_fork(after_in_child=_observed.clear)  # they are the parent's


@dataclass(frozen=True)
class Instruments:
    """What is recorded as it happens; all else is looked up in the figures of the process when it is asked for."""

    create_time: Histogram
    wait_time: Histogram
    use_time: Histogram
    operation: Histogram


@functools.cache
def instruments() -> Instruments:
    """Those of this process, made once."""

    def seconds(name: str, what: str) -> Histogram:
        return meter().create_histogram(f"db.client.{name}", "s", what, explicit_bucket_boundaries_advisory=SECONDS)

    count = "The number of connections that are currently in state described by the `state` attribute."
    meter().create_observable_up_down_counter(
        "db.client.connection.count",
        [_observe("in_use", {STATE: "used"}), _observe("idle", {STATE: "idle"})],
        "{connection}",
        count,
    )
    meter().create_observable_up_down_counter(
        "db.client.connection.max",
        [_observe("max")],
        "{connection}",
        "The maximum number of open connections allowed.",
    )
    meter().create_observable_up_down_counter(
        "db.client.connection.pending_requests",
        [_observe("acquiring")],
        "{request}",
        "The number of current pending requests for an open connection.",
    )
    meter().create_observable_counter(
        "db.client.connection.timeouts",
        [_observe("acquisition_timeout")],
        "{timeout}",
        "The number of connection timeouts that have occurred trying to obtain a connection from the pool.",
    )
    return Instruments(
        create_time=seconds("connection.create_time", "The time it took to create a new connection."),
        wait_time=seconds("connection.wait_time", "The time it took to obtain an open connection from the pool."),
        use_time=seconds(
            "connection.use_time", "The time between borrowing a connection and returning it to the pool."
        ),
        operation=seconds("operation.duration", "Duration of database client operations."),
    )


def observe(metrics: Metrics) -> None:
    """Let OpenTelemetry see the figures of a container."""
    _observed.add(metrics)
    instruments()


def pool_name(lifetime: str, address: object) -> str:
    """What a pool is called: drivers that live alike share one for each server, and are added up."""
    return f"{lifetime}/{address}"


class ToldPool(PoolWatcher):
    """Is told by ``watch_pool`` what happens in a pool, and tells how long it took; and the connections' queries.

    Args:
        lifetime: how long the driver lives.
    """

    def __init__(self, lifetime: str) -> None:
        self._lifetime = lifetime
        self._instruments = instruments()
        self._lent: dict[Any, tuple[float, dict[str, str]]] = {}

    def acquired(self, address: Any, connection: Any, seconds: float) -> None:
        """A session has a connection."""
        attributes = {POOL: pool_name(self._lifetime, address)}
        self._instruments.wait_time.record(seconds, attributes)
        self._lent[connection] = time.perf_counter(), attributes

    def created(self, address: Any, connection: Any, seconds: float) -> None:
        """A connection is open."""
        self._instruments.create_time.record(seconds, {POOL: pool_name(self._lifetime, address)})
        watch_queries(connection, self._instruments.operation)

    def released(self, connection: Any) -> None:
        """A session gives one back."""
        end_queries(connection)
        lent = self._lent.pop(connection, None)
        if lent is not None:
            since, attributes = lent
            self._instruments.use_time.record(time.perf_counter() - since, attributes)

    def closed(self) -> None:
        """The driver is closed, and with it the connections that sessions still have."""
        for connection in list(self._lent):
            end_queries(connection)


def _observe(figure: str, also: dict[str, str] | None = None) -> Callable[[CallbackOptions], Iterable[Observation]]:
    """Reads a figure of the pools, which may be unknown."""

    def read(_: CallbackOptions) -> Iterable[Observation]:
        sums: dict[str, float] = defaultdict(float)
        for metrics in list(_observed):
            for metric in metrics.collect():
                if metric.name == _FIGURES + figure:
                    for sample in metric.samples:
                        if not sample.name.endswith("_created") and not math.isnan(sample.value):
                            sums[pool_name(sample.labels["pool"], sample.labels["address"])] += sample.value
        return [Observation(int(value), {POOL: name} | (also or {})) for name, value in sums.items()]

    return read
