"""What is seen of a real worker's pools from outside: the command stats, Celery's inspect, and the liveness probe."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import pytest

from app_container import create_container
from tests.integration.test_command import run
from tests.support.waiting import stop_process
from tests.support.workers import StartWorker, insert
from wiring.celery.inspect import COMMAND
from wiring.celery.options import make_app
from wiring.metrics.advice import advise
from wiring.metrics.liveness import liveness
from wiring.runner import Document
from wiring.stats import stats
from wiring.testing.waiting import until


@pytest.mark.usefixtures("environment")
def test_pools_of_running_workers(start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_MAX_POOL_SIZE", "1")  # LightRAG has several sessions at a time
    container = create_container()
    settings = container.settings()
    worker = start_worker("--concurrency", "2")
    workers = worker.until_found()
    documents = [Document(f"Here Ada met Bob{n}. Bob{n} wrote to Eve{n}.", f"{n}.md", f"d{n}") for n in range(4)]
    assert [outcome.error for outcome in insert(workers, documents)] == [None] * 4

    def all_counted() -> Any:
        (found,) = stats(container)["workers"]
        counted = sum(process["documents"].get("processed", 0) for process in found["processes"])
        return found if counted == 4 else None

    found = until(all_counted)
    assert found["worker"].startswith("celery@")
    assert len(found["processes"]) == 3  # the main process, and two children
    pools = {process["pid"]: pool for process in found["processes"] for pool in process["pools"]}
    assert {pool["pool"] for pool in pools.values()} == {"worker_loop"}
    assert {pool["max"] for pool in pools.values()} == {1}
    waited = sum(pool["waited"] for pool in pools.values())
    assert waited > 0
    assert all(pool["acquired"] > 0 and pool["last_success"] <= time.time() for pool in pools.values())

    (advice,) = advise([found])
    assert advice["text"].startswith(f"{waited} of ")
    assert f"raise to {advice['recommended']} (NEO4J_MAX_POOL_SIZE; " in advice["text"]
    assert advice["recommended"] > max(pool["peak"] for pool in pools.values()) > 1
    table = run("stats")
    assert all(str(pid) in table for pid in pools)
    assert advice["text"] in table

    app = make_app(settings.celery)
    (answer,) = app.control.broadcast(COMMAND, reply=True, timeout=5, limit=1) or []
    assert [process["pid"] for process in answer[found["worker"]]["processes"]] == [
        process["pid"] for process in found["processes"]
    ]

    assert liveness(settings.metrics.data_dir).live
    pid = next(iter(pools))
    stop_process(pid)
    (figures,) = settings.metrics.data_dir.glob(f"*/{pid}-*/figures.json")
    os.utime(figures, (0, time.time() - 100))  # as if it had been stopped so long ago
    probe = json.loads(run("check", "--probe", "liveness", code=1, what="stdout"))
    assert probe["live"] is False
    assert f"process {pid} of celery@" in probe["reason"]
    assert "has said nothing for 10" in probe["reason"]
    os.kill(pid, signal.SIGCONT)
    until(lambda: liveness(settings.metrics.data_dir).live)

    assert worker.stop() == 0
    assert list(settings.metrics.data_dir.iterdir()) == []
    assert "no worker runs" in run("stats", code=1, what="stdout")
    assert not liveness(settings.metrics.data_dir).live
