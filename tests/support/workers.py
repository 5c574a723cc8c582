"""A real Celery worker process, on the server of the tests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wiring.runner import Document, InWorkers, Outcome, find_workers
from wiring.testing.celery_worker import CeleryWorkerProcess
from wiring.testing.waiting import until


class WorkerProcess(CeleryWorkerProcess):
    def json_lines(self) -> list[dict[str, Any]]:
        """The lines of a log that is JSON, each of which must be one."""
        return [json.loads(line) for line in self.log.splitlines()]

    def until_found(self) -> InWorkers:
        """Wait until it is ready, and find it as the command does."""
        from app_container import create_container

        self.until_ready()
        return until(lambda: find_workers(create_container().settings()), told=self.end_of_log)

    def failing_start(self) -> str:
        """Wait until it has refused to start; returns the line that says why."""
        assert self.process.wait(60) == 1
        assert "Traceback" not in self.log
        lines = [line for line in self.log.splitlines() if "SecurityWarning" not in line]
        return lines[-1]

    def drivers(self, what: str) -> list[int]:
        """The processes that opened or closed a driver, once for each time."""
        return [int(pid) for pid in re.findall(rf"{what} \w*Driver .*process (\d+)", self.log)]


def insert(workers: InWorkers, documents: list[Document]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    workers.insert(documents, None, outcomes.append)
    return outcomes


def call(workers: InWorkers, task: str, *args: Any, **kwargs: Any) -> Any:
    return workers._app.send_task(f"lightrag.{task}", args, kwargs).get(timeout=60)


def doc_status(environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The rows LightRAG keeps of the documents of the test's workspace."""
    folder = Path(environment["LIGHTRAG_WORKING_DIR"]) / environment["LIGHTRAG_WORKSPACE"]
    rows: dict[str, dict[str, Any]] = json.loads((folder / "kv_store_doc_status.json").read_text())
    return rows


StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def start_worker(tmp_path: Path, environment: dict[str, str]) -> Iterator[StartWorker]:
    """Starts workers with the test's settings, and ends those that still run."""
    started: list[WorkerProcess] = []

    def start(*arguments: str, app: str = "wiring.celery_app", **overrides: str) -> WorkerProcess:
        log_file = tmp_path / f"worker{len(started)}.log"
        worker = WorkerProcess(log_file, environment | overrides, app, arguments)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
