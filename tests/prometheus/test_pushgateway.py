"""A worker that pushes its figures to a real Pushgateway, which comes late."""

from __future__ import annotations

from pathlib import Path

import httpx
from celery import Celery
from prometheus_client.parser import text_string_to_metric_families

from tests.support.prometheus_server import run_pushgateway
from tests.support.workers import StartWorker
from wiring.testing.own_server import free_port
from wiring.testing.waiting import until

APP = "tests.support.measured_tasks"
WARNING = "takes no figures"


def pushed(gateway: str, name: str) -> dict[tuple[str, str], float]:
    """The sum of what the gateway has of a figure, by the job and the worker that pushed it."""
    sums: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(httpx.get(f"{gateway}/metrics").text):
        for sample in family.samples:
            if sample.name == name:
                key = sample.labels["job"], sample.labels["instance"]
                sums[key] = sums.get(key, 0.0) + sample.value
    return sums


def test_figures_are_pushed_when_the_gateway_is_there(start_worker: StartWorker, app: Celery, tmp_path: Path) -> None:
    address = f"127.0.0.1:{(port := free_port())}"
    options = {"METRICS_PUSHGATEWAY_URL": f"http://{address}", "METRICS_PUSH_INTERVAL": "0.2"}
    worker = start_worker("--concurrency", "1", "--hostname", "pusher@here", app=APP, **options)
    assert app.send_task("ask").get(timeout=60)
    until(lambda: WARNING in worker.log, told=lambda: worker.log)
    assert app.send_task("ask").get(timeout=60)

    who = "lightrag-neo4j", "pusher@here"
    with run_pushgateway(tmp_path, port) as gateway:
        until(lambda: pushed(gateway, "neo4j_driver_connections_acquired_total") == {who: 2})
        assert pushed(gateway, "neo4j_driver_connections_idle") == {who: 1}
        for _ in range(3):
            app.send_task("ask").get(timeout=60)
        assert worker.stop() == 0
        assert pushed(gateway, "neo4j_driver_connections_acquired_total") == {who: 5}  # its last words
        assert pushed(gateway, "neo4j_driver_closed_total") == {who: 1}
        assert pushed(gateway, "neo4j_driver_connections_idle") == {}  # nobody has connections any more
    assert worker.log.count(WARNING) == 1
    assert "Traceback" not in worker.log
