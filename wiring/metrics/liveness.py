"""Whether the workers of this machine work, told from outside, without the server and without the broker."""

from __future__ import annotations

from pathlib import Path

from app_container.health import Liveness
from wiring.metrics.report import report_workers

BOUND = 60.0
"""Seconds that a process may be silent, or its worker loop late, before it counts as hanging. Both are due every
second; on a machine that is much too busy they may come late, and a restart would not help that."""


def liveness(data_dir: Path) -> Liveness:
    """Whether a worker keeps its figures in ``data_dir``, and each of its processes goes on."""
    workers = report_workers(data_dir)
    if not workers:
        return Liveness(live=False, reason=f"no worker runs that keeps its figures in {data_dir.absolute()}")
    for worker in workers:
        for process in worker["processes"]:
            name = f"process {process['pid']} of {worker['worker']}"
            if process["silent_for"] > BOUND:
                return Liveness(live=False, reason=f"{name} has said nothing for {process['silent_for']:.0f} s")
            if process["lag"] > BOUND:
                return Liveness(live=False, reason=f"the worker loop of {name} is blocked for {process['lag']:.0f} s")
    return Liveness(live=True, reason=None)
