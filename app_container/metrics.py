"""What a process counts, by names that its users know from elsewhere.

The figures are kept by prometheus_client in a registry of the container's own, one for each process, so that they are
not mixed with those of the application. ``wiring.metrics`` hands them on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from app_container.leaks.leaks import Leaks
from app_container.loop_metrics import LoopMetrics
from app_container.pools.pool_metrics import PoolMetrics

if TYPE_CHECKING:
    from neo4j import AsyncDriver, Driver
    from prometheus_client.metrics_core import Metric

    from app_container.worker_loop import WorkerLoop

DOCUMENT_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    """The figures of this process. A registry of prometheus_client takes it as a collector.

    In an application that shows figures of its own: ``REGISTRY.register(container.metrics())``.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Histogram

        self._registry = CollectorRegistry()
        self._pools = PoolMetrics(self._registry)
        self._leaks = Leaks(self._registry)
        self._loops = LoopMetrics(self._registry)
        self._documents = Histogram(
            "lightrag_document_seconds",
            "Documents, and how long they took until they were in the graph or given up.",
            ["outcome"],
            buckets=DOCUMENT_SECONDS,
            registry=self._registry,
        )

    def collect(self) -> Iterable[Metric]:
        """The figures at this moment."""
        return self._registry.collect()

    def watch_driver(self, driver: Driver | AsyncDriver, lifetime: str) -> None:
        """Count what happens in the pool of a driver that was just made.

        Args:
            driver: the driver.
            lifetime: how long it lives: ``process``, ``worker_loop`` or ``loop``.
        """
        self._pools.watch(driver, lifetime)

    def watch_leaks(self, driver: Driver | AsyncDriver, threshold: float) -> None:
        """Tell of sessions of a driver that was just made, and of itself, when nobody closes them.

        Args:
            driver: the driver.
            threshold: seconds after which a session is told that still has its connection; 0 for never.
        """
        self._leaks.watch(driver, threshold)

    def watch_worker_loop(self, worker_loop: WorkerLoop) -> None:
        """Tell how much a worker loop has to do."""
        self._loops.watch(worker_loop)

    def document_done(self, outcome: str, seconds: float) -> None:
        """Count a document.

        Args:
            outcome: what became of it; one of a few words, for each is a series of its own.
            seconds: how long it took.
        """
        self._documents.labels(outcome).observe(seconds)
