"""A real Celery worker process, on the server of the tests."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import PROJECT
from tests.support.families import end_family
from wiring.runner import Document, InWorkers, Outcome, find_workers

START_TIMEOUT = 90.0


class WorkerProcess:
    def __init__(self, log_file: Path, environment: dict[str, str], app: str, arguments: Sequence[str]) -> None:
        self.log_file = log_file
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "--loglevel", "INFO", *arguments]
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **environment, "PYTHONPATH": f"{PROJECT}{os.pathsep}{Path.cwd()}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def json_lines(self) -> list[dict[str, Any]]:
        """The lines of a log that is JSON, each of which must be one."""
        return [json.loads(line) for line in self.log.splitlines()]

    def until_ready(self) -> InWorkers:
        from app_container import create_container

        settings = create_container().settings()
        deadline = time.monotonic() + START_TIMEOUT
        while (workers := find_workers(settings)) is None:
            assert self.process.poll() is None, f"the worker ended:\n{self.log}"
            assert time.monotonic() < deadline, f"the worker does not answer:\n{self.log}"
        return workers

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout: float = 60.0) -> int:
        """Ask it to end; returns its exit code."""
        self.process.send_signal(how)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """End it at once: a warm shutdown takes Celery some seconds."""
        end_family(self.process)

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
