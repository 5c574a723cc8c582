"""A worker on the folder broker is killed with all its processes, while tasks run and wait."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import psutil

from tests.support.models import config_with_model
from tests.support.workers import StartWorker

READY_WORKER_WITH_A_TASK = """
import time
from pathlib import Path
from wiring.celery_app import app

@app.task(name="wait", bind=True)
def wait(self):
    Path("waits").touch()
    while not Path("go").exists():
        time.sleep(0.05)
    return self.request.delivery_info["redelivered"]
"""


def test_the_next_worker_ends_all_its_tasks_and_none_starts_beside_it(
    start_worker: StartWorker, environment: dict[str, str]
) -> None:
    Path("with_a_task.py").write_text(READY_WORKER_WITH_A_TASK)
    config = config_with_model("slow")
    start: dict[str, Any] = {"app": "with_a_task", "APP_CONTAINER_CONFIG": config}
    first = start_worker("--concurrency", "2", **start)
    app = first.until_found()._app
    messages = Path(environment["CELERY_DATA_DIR"]) / "messages"
    parent = psutil.Process(first.process.pid)
    refused = start_worker("--concurrency", "1", app="with_a_task", LIGHTRAG_WORKING_DIR="other").failing_start()
    assert refused.startswith(f"{messages} is in use by worker {parent.pid} or a process it started, and a second one")

    later = app.send_task("wait", countdown=5)  # the parent keeps it until then
    waits = app.send_task("wait")
    inserts = [
        app.send_task("lightrag.insert_document", (f"Here Ada{n} met Bob{n}.",), {"document_id": f"doc{n}"})
        for n in range(4)
    ]
    deadline = time.monotonic() + 60
    while not Path("waits").exists() or inserts[0].state != "STARTED":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    family = parent.children(recursive=True)
    parent.kill()
    for child in family:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended with its parent
            child.kill()
    first.process.wait(10)
    assert psutil.wait_procs(family, 20)[1] == []
    assert not any(result.ready() for result in (later, waits, inserts[3]))

    Path("go").touch()
    second = start_worker("--concurrency", "2", **start)
    assert {result.get(timeout=90)["status"] for result in inserts} <= {"processed", "unchanged"}
    assert [result.get(timeout=60) for result in (later, waits)] == [True, True]
    assert "messages that a worker had when it was killed" in second.log
    assert second.stop() == 0
    assert list(messages.glob("*.celery.msg*")) == []
