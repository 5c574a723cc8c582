"""Every figure of the pools and the worker loop, in Prometheus, after just that happened in a real worker."""

from __future__ import annotations

import time
from pathlib import Path

from celery import Celery
from celery.result import AsyncResult

from tests.prometheus.conftest import StartMeasured
from tests.support.prometheus_server import Prometheus, by
from tests.support.proxy import Proxy

APP = "tests.support.measured_tasks"
TIMEOUT = 60.0
POOLS = "process", "worker_loop"


class Pools:
    """Both pools of a worker's process. What the task ``hold`` does, it does in both of them."""

    def __init__(self, prometheus: Prometheus, instance: str) -> None:
        self._prometheus, self._instance = prometheus, instance

    def until(self, **figures: float) -> None:
        """Until Prometheus has these figures of each pool."""
        for name, value in figures.items():
            both = f'sum by (pool) (neo4j_driver_connections_{name}{{instance="{self._instance}"}})'
            self._prometheus.until_it_is_by("pool", both, dict.fromkeys(POOLS, value))

    def until_seen(self, name: str, times: int) -> None:
        """Until Prometheus has seen that a figure was not 0 so often, each time a second after the last."""
        seen = f'sum_over_time(neo4j_driver_connections_{name}{{instance="{self._instance}"}}[1m])'
        self._prometheus.until(seen, lambda found: [number >= times for _, number in found] == [True, True])

    def median(self, name: str) -> dict[str, float]:
        """The median seconds of each pool."""
        buckets = f'sum by (le, pool) (neo4j_driver_connections_{name}_seconds_bucket{{instance="{self._instance}"}})'
        return by("pool", self._prometheus.query(f"histogram_quantile(0.5, {buckets})"))


def test_what_happens_in_pools(
    start_measured: StartMeasured, app: Celery, prometheus: Prometheus, proxy: Proxy, tmp_path: Path
) -> None:
    started = time.time()
    options = {"NEO4J_URI": proxy.uri, "NEO4J_MAX_POOL_SIZE": "1", "NEO4J_MAX_TRANSACTION_RETRY_TIME": "0"}
    start_measured("pools", "--concurrency", "1", app=APP, **options)
    prometheus.until_it_is('up{instance="pools"}', 1)
    pools = Pools(prometheus, "pools")

    def hold(sessions: int, mark: Path, *timeout: float) -> AsyncResult[list[str]]:
        return app.send_task("hold", (sessions, str(mark), *timeout))

    # A connection is opened by a server that takes its time, and used for a while.
    proxy.stop()
    held = hold(1, mark := tmp_path / "slow")
    pools.until(creating=1, acquiring=1, in_use=0, idle=0, max=1, acquired_total=0, created_total=0)
    pools.until_seen("creating", 3)
    proxy.go_on()
    pools.until(creating=0, acquiring=0, in_use=1, idle=0, acquired_total=1, created_total=1)
    pools.until_seen("in_use", 3)
    mark.touch()
    assert held.get(timeout=TIMEOUT) == ["held", "held"]
    pools.until(in_use=0, idle=1, peak=1, waited_total=0, usage_seconds_count=1)
    for name in ("acquisition", "creation", "usage"):
        assert all(seconds > 1.0 for seconds in pools.median(name).values()), name  # three looks are two seconds
    last = prometheus.query('neo4j_driver_last_success_timestamp_seconds{instance="pools"}')
    assert all(started < moment < time.time() for moment in by("pool", last).values())

    # The pool is full: a second session waits, and is given the connection of the first.
    held = hold(2, mark := tmp_path / "full")
    pools.until(in_use=1, acquiring=1, waited_total=1, acquired_total=2, peak=2)
    mark.touch()
    assert held.get(timeout=TIMEOUT) == ["held"] * 4
    pools.until(in_use=0, acquiring=0, acquired_total=3, created_total=1, acquisition_timeout_total=0)

    # The second one waits in vain.
    held = hold(2, mark := tmp_path / "late", 0.5)
    pools.until(in_use=1, acquiring=0, waited_total=2, acquisition_timeout_total=1, failed_total=0)
    mark.touch()
    assert held.get(timeout=TIMEOUT) == ["ConnectionAcquisitionTimeoutError"] * 2 + ["held"] * 2
    prometheus.until_it_is('count(ALERTS{alertname="Neo4jPoolTimeouts", instance="pools"})', 2)
    pools.until(acquired_total=4, acquisition_seconds_count=4, usage_seconds_count=4, closed_total=0)

    # The server is gone, and then it is there again.
    proxy.cut()
    assert set(hold(1, mark).get(timeout=TIMEOUT)) == {"ServiceUnavailable"}
    pools.until(idle=0, closed_total=1, failed_total=1, acquired_total=4)
