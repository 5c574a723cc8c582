"""What the processes of a worker do, as people and programs read it: JSON."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prometheus_client import Metric
from typing_extensions import TypedDict

from wiring.metrics.publisher import FILE
from wiring.metrics.snapshot import Snapshot
from wiring.metrics.worker import is_alive, process_folders, read_past, read_snapshot, worker_folders, worker_name

_PREFIX = "neo4j_driver_connections_"


class EndedReport(TypedDict):
    """What happened in a pool in processes that have ended."""

    pool: str
    address: str
    acquired: int
    waited: int
    timed_out: int


class PoolReport(EndedReport):
    """A pool of one process: what happened since the process began, and what there is now; None is unknown.

    ``peak`` is the most sessions that had or wanted a connection at once, in 24 h; ``last_success`` when one was last
    used and given back in order, in seconds since the epoch.
    """

    in_use: int | None
    idle: int | None
    acquiring: int
    max: int | None
    peak: int
    last_success: float | None


class ProcessReport(TypedDict):
    """A process: when it last said something, and how it does. Times in seconds."""

    pid: int
    running_for: float
    silent_for: float
    pools: list[PoolReport]
    queued: int
    active: int
    lag: float
    documents: dict[str, int]


class WorkerReport(TypedDict):
    """A worker: its processes that run, and what those did that have ended."""

    worker: str
    processes: list[ProcessReport]
    ended: list[EndedReport]


def report_workers(data_dir: Path) -> list[WorkerReport]:
    """The workers of this machine that run and keep their figures in ``data_dir``."""
    reports = (report_worker(folder) for folder in worker_folders(data_dir))
    return [report for report in reports if report["processes"]]


def report_worker(folder: Path) -> WorkerReport:
    """The worker whose folder it is."""
    now = time.time()
    processes = []
    for process in process_folders(folder):
        snapshot = read_snapshot(process) if is_alive(process) else None
        if snapshot is not None:
            with suppress(FileNotFoundError):  # it ended just now, and its folder was removed
                processes.append(_process(snapshot, now, (process / FILE).stat().st_mtime))
    ended = [_ended(*key, values) for key, values in _by_pool(read_past(folder)).items()]
    return WorkerReport(worker=worker_name(folder), processes=processes, ended=ended)


def _process(snapshot: Snapshot, now: float, written: float) -> ProcessReport:
    def gauge(name: str) -> float:
        return sum(sample.value for metric in snapshot.metrics if metric.name == name for sample in metric.samples)

    return ProcessReport(
        pid=snapshot.pid,
        running_for=round(now - snapshot.since, 1),
        silent_for=round(max(0.0, now - written), 1),
        pools=[_pool(*key, values) for key, values in _by_pool(snapshot.metrics).items()],
        queued=int(gauge("worker_loop_queued_tasks")),
        active=int(gauge("worker_loop_active_tasks")),
        lag=round(gauge("worker_loop_lag_seconds"), 3),
        documents={
            sample.labels["outcome"]: int(sample.value)
            for metric in snapshot.metrics
            for sample in metric.samples
            if sample.name == "lightrag_document_seconds_count"
        },
    )


_Values = defaultdict[str, float]


def _by_pool(metrics: Iterable[Metric]) -> dict[tuple[str, str], _Values]:
    found: dict[tuple[str, str], _Values] = {}
    for metric in metrics:
        for sample in metric.samples:
            if {"pool", "address"} <= sample.labels.keys():
                values = found.setdefault((sample.labels["pool"], sample.labels["address"]), defaultdict(float))
                values[sample.name.removeprefix(_PREFIX)] = sample.value
    return found


def _pool(pool: str, address: str, values: _Values) -> PoolReport:
    return PoolReport(
        **_ended(pool, address, values),
        in_use=_known(values["in_use"]),
        idle=_known(values["idle"]),
        acquiring=int(values["acquiring"]),
        max=_known(values["max"]),
        peak=int(values["peak"]),
        last_success=values["neo4j_driver_last_success_timestamp_seconds"] or None,
    )


def _ended(pool: str, address: str, values: _Values) -> EndedReport:
    return EndedReport(
        pool=pool,
        address=address,
        acquired=int(values["acquired_total"]),
        waited=int(values["waited_total"]),
        timed_out=int(values["acquisition_timeout_total"]),
    )


def _known(value: float) -> int | None:
    return None if math.isnan(value) else int(value)
