"""What the running workers are made of, as they tell it themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery

TIMEOUT = 1.0
"""Seconds that workers have to tell something of themselves."""


def count_processes(app: Celery, workers: Sequence[str]) -> int:
    """How many processes of these workers run tasks, at the most; one for a worker that is too busy to tell.

    Args:
        app: an application of their broker.
        workers: their names.
    """
    if not workers:
        return 0
    told = app.control.inspect(list(workers), timeout=TIMEOUT, limit=len(workers)).stats() or {}
    return sum(_processes(told.get(name, {})) for name in workers)


def _processes(stats: Mapping[str, Any]) -> int:
    pool = stats.get("pool", {})
    if not str(pool.get("implementation")).startswith("celery.concurrency.prefork"):
        return 1
    return max(int(pool["max-concurrency"]), int(stats.get("autoscaler", {}).get("max", 0)))
