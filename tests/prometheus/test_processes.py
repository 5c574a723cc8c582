"""What Prometheus sees of a worker's processes: a loop that hangs, a leak, killed and replaced children, the end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from celery import Celery

from tests.prometheus.conftest import StartMeasured
from tests.support.prometheus_server import Prometheus
from wiring.testing.waiting import until

APP = "tests.support.measured_tasks"
TIMEOUT = 60.0


def folders(path: Path) -> list[str]:
    """The folders of a worker's processes."""
    return [folder.name for folder in path.glob("*/*") if folder.is_dir()]


def test_a_worker_loop_that_is_blocked_and_a_session_that_is_lost(
    start_measured: StartMeasured, app: Celery, prometheus: Prometheus, tmp_path: Path
) -> None:
    start_measured("loop", "--concurrency", "1", app=APP)
    blocked = app.send_task("block", (3, str(mark := tmp_path / "mark")))
    prometheus.until_it_is('worker_loop_active_tasks{instance="loop"}', 1)
    prometheus.until_it_is('worker_loop_queued_tasks{instance="loop"}', 3)
    prometheus.until_it_is('worker_loop_lag_seconds{instance="loop"} > bool 1', 1)
    mark.touch()
    blocked.get(timeout=TIMEOUT)
    for figure in ("active_tasks", "queued_tasks", "lag_seconds"):
        prometheus.until_it_is(f'round(worker_loop_{figure}{{instance="loop"}})', 0)

    app.send_task("lose").get(timeout=TIMEOUT)
    prometheus.until_it_is('neo4j_driver_leaks_detected_total{instance="loop", kind="session"}', 1)


def test_a_killed_child_and_the_end_of_its_worker(
    start_measured: StartMeasured, app: Celery, prometheus: Prometheus, tmp_path: Path
) -> None:
    worker = start_measured("killed", "--concurrency", "2", app=APP)
    acquired = 'sum(neo4j_driver_connections_acquired_total{instance="killed"})'
    idle = 'neo4j_driver_connections_idle{instance="killed"}'
    asked = [app.send_task("ask").get(timeout=TIMEOUT) for _ in range(7)]
    prometheus.until_it_is(acquired, 7)
    pids, victim = {int(labels["pid"]) for labels, _ in prometheus.query(idle)}, asked[-1]
    assert pids == set(asked)
    os.kill(victim, signal.SIGKILL)
    prometheus.until(idle, lambda found: {int(labels["pid"]) for labels, _ in found} == pids - {victim})
    gauges = prometheus.query('count by (pid) ({instance="killed", pid=~".+"})')
    assert str(victim) not in {labels["pid"] for labels, _ in gauges}
    prometheus.until_it_is(acquired, 7)
    for _ in range(2):
        app.send_task("ask").get(timeout=TIMEOUT)
    prometheus.until_it_is(acquired, 9)
    prometheus.until_it_is('sum(resets(neo4j_driver_connections_acquired_total{instance="killed"}[5m]))', 0)

    assert folders(tmp_path / "figures")
    assert worker.stop() == 0
    assert list((tmp_path / "figures").iterdir()) == []
    prometheus.until_it_is('up{instance="killed"}', 0)
    prometheus.until(idle, lambda found: not found)


def test_children_that_are_replaced_leave_what_they_counted_and_no_folders(
    start_measured: StartMeasured, app: Celery, prometheus: Prometheus, tmp_path: Path
) -> None:
    worker = start_measured("replaced", "--concurrency", "2", "--max-tasks-per-child", "1", app=APP)
    (tmp_path / "mark").touch()
    mark = str(tmp_path / "mark")
    for task in [app.send_task(name, args) for name, args in (("hold", (1, mark)), ("ask_in_a_loop", ())) * 3]:
        task.get(timeout=TIMEOUT)
    drivers = {"process": 3.0, "worker_loop": 3.0, "loop": 3.0}
    for what in ("opened", "closed"):
        counted = f'sum by (lifetime) (neo4j_driver_{what}_total{{instance="replaced"}})'
        prometheus.until_it_is_by("lifetime", counted, drivers)
    prometheus.until_it_is('sum(neo4j_driver_connections_acquired_total{instance="replaced"})', 9)
    prometheus.until_it_is('sum(neo4j_driver_connections_closed_total{instance="replaced"})', 9)
    until(lambda: len(folders(tmp_path / "figures")) == 3, told=lambda: f"{folders(tmp_path / 'figures')}")
    assert "Traceback" not in worker.log
