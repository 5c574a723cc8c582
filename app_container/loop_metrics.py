"""The figures of a process's worker loop: what waits, what runs, and how late the loop is."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

    from app_container.worker_loop import WorkerLoop


class LoopMetrics:
    """Looks at the worker loop when it is asked for figures.

    How late the loop is, is found out by asking it for a turn: the figure is what the last answer took, or, if that is
    longer, how long the answer has been outstanding.

    Args:
        registry: where the figures are collected.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._probes: weakref.WeakKeyDictionary[WorkerLoop, _Probe] = weakref.WeakKeyDictionary()
        registry.register(self)

    def watch(self, worker_loop: WorkerLoop) -> None:
        """Watch a worker loop from now on."""
        self._probes[worker_loop] = _Probe()

    def collect(self) -> Iterator[Metric]:
        """What is seen at this moment; nothing where no worker loop is."""
        from prometheus_client.metrics_core import GaugeMetricFamily

        running = {worker_loop: probe for worker_loop, probe in list(self._probes.items()) if worker_loop.is_open}
        if not running:
            return
        queued = sum(worker_loop.queued for worker_loop in running)
        active = sum(worker_loop.active for worker_loop in running)
        lag = max(probe.seconds(worker_loop) for worker_loop, probe in running.items())
        yield GaugeMetricFamily("worker_loop_queued_tasks", "Coroutines that wait for their first turn.", queued)
        yield GaugeMetricFamily("worker_loop_active_tasks", "Coroutines that have begun and not ended.", active)
        yield GaugeMetricFamily("worker_loop_lag_seconds", "How long the worker loop takes to give a turn.", lag)


class _Probe:
    """Asks a loop for a turn, once at a time."""

    def __init__(self) -> None:
        self._asked: float | None = None
        self._took = 0.0

    def seconds(self, worker_loop: WorkerLoop) -> float:
        outstanding = 0.0 if (asked := self._asked) is None else time.monotonic() - asked
        lag = max(self._took, outstanding)
        if asked is None:
            self._asked = time.monotonic()
            worker_loop.next_turn().add_done_callback(self._answered)
        return lag

    def _answered(self, _: Future[None]) -> None:
        if self._asked is not None:
            self._took, self._asked = time.monotonic() - self._asked, None
