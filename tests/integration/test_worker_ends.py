"""How a real worker ends: asked to, interrupted, or killed; what it leaves, and what those who wait are told."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

from app_container import AppContainerError
from tests.support.models import config_with_model
from tests.support.workers import StartWorker, call, doc_status, insert
from wiring.runner import Document


def test_a_task_that_is_interrupted_leaves_a_document_that_another_task_takes_up(
    start_worker: StartWorker, environment: dict[str, str]
) -> None:
    config = config_with_model("slow")
    worker = start_worker("--concurrency", "2", APP_CONTAINER_CONFIG=config)
    workers = worker.until_found()
    call(workers, "insert_document", "Here Ada met Bob.", document_id="warm")
    text = "\n\n".join(f"Here Person{n} met Other{n}. " + "and so on " * 1500 for n in range(12))
    with pytest.raises(Exception, match="SoftTimeLimitExceeded"):
        workers._app.send_task("lightrag.insert_document", (text,), {"document_id": "long"}, soft_time_limit=4).get(
            timeout=60
        )
    assert doc_status(environment)["long"]["status"] not in ("processed", "failed")
    assert call(workers, "insert_document", "Here Eve met Mallory.", document_id="short")["status"] == "processed"
    deadline = time.monotonic() + 60
    while doc_status(environment)["long"]["status"] != "processed":
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_worker_whose_parent_is_killed_leaves_no_process_and_the_next_one_takes_over(
    start_worker: StartWorker,
) -> None:
    first = start_worker("--concurrency", "2")
    assert call(first.until_found(), "insert_document", "Here Ada met Bob.", document_id="a")["status"] == "processed"
    family = psutil.Process(first.process.pid).children(recursive=True)
    assert len(family) == 3  # two children, and the process of LightRAG's shared state
    first.process.kill()
    _, alive = psutil.wait_procs(family, 20)
    assert alive == []
    workers = start_worker("--concurrency", "2").until_found()
    assert call(workers, "insert_document", "Here Ada met Bob.", document_id="a")["status"] == "unchanged"


def test_who_waits_for_a_worker_that_died_is_told(start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wiring.runner.PING_INTERVAL", 1.0)
    monkeypatch.setattr("wiring.runner.PATIENCE", 3.0)
    worker = start_worker("--concurrency", "1", APP_CONTAINER_CONFIG=config_with_model("slow"))
    workers = worker.until_found()
    worker.kill()
    (outcome,) = insert(workers, [Document("Here Ada met Bob.", "a.md")])
    assert outcome.error == "no Celery worker has answered for 3 s; see its log; it stays queued"
    with pytest.raises(AppContainerError, match="no Celery worker has answered for 3 s; see its log"):
        workers.query("Who met Bob?", "mix", None)
    again = start_worker("--concurrency", "1")
    (outcome,) = insert(again.until_found(), [Document("Here Ada met Bob.", "a.md")])
    assert outcome.error is None


def test_a_deletion_whose_process_is_killed_is_done_again_and_others_wait_for_it(
    start_worker: StartWorker, environment: dict[str, str]
) -> None:
    worker = start_worker("--concurrency", "2")
    workers = worker.until_found()
    text = "\n\n".join(f"Here Person{n} met Other{n}. " + "and so on " * 1500 for n in range(12))
    call(workers, "insert_document", text, document_id="long")
    deletion = workers._app.send_task("lightrag.delete_document", ("long",))
    deadline = time.monotonic() + 60
    while "Starting deletion process" not in worker.log:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(deletion.info["pid"], signal.SIGKILL)
    insertion = workers._app.send_task("lightrag.insert_document", ("Here Ada met Bob.",), {"document_id": "short"})
    assert insertion.get(timeout=60)["status"] == "processed"
    assert deletion.get(timeout=60)["status"] == "deleted"
    assert set(doc_status(environment)) == {"short"}
