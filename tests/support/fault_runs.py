"""Documents on their way through the ready worker, what goes wrong meanwhile, and what is there afterwards."""

from __future__ import annotations

import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from pprint import pformat
from typing import Any

import psutil
import pytest
from celery import Celery
from celery.states import READY_STATES

from app_container import create_container
from tests import PROJECT
from tests.support.brokers import Broker
from tests.support.models import config_with_model
from tests.support.own_neo4j import OwnNeo4j
from tests.support.same_graph import Graph, Key, read_graph, vectors_in_files
from tests.support.servers import Server
from tests.support.workers import WorkerProcess, doc_status
from wiring.celery.options import make_app
from wiring.testing.waiting import until

CONCURRENCY = 4
TASK = "lightrag.insert_document"
LONGEST_WAIT = 120.0
"""Seconds, against hanging: far more than what is waited for takes."""


def texts(count: int, persons: int | None = None) -> dict[str, str]:
    """Documents by their ids. Each has a room of its own, and shares its persons with others."""
    persons = persons or max(20, count)
    return {
        f"doc{n}": " ".join(
            f"Here Person{(n + k) % persons} met Person{(n * 7 + k) % persons} in Room{n}." for k in range(5)
        )
        for n in range(count)
    }


@dataclass(frozen=True)
class ModelCall:
    began: float
    pid: int
    document: str
    ended: float | None


def read_calls(file: Path) -> list[ModelCall]:
    """What ``models.watched`` wrote to ``file``; a call without an end goes on, or was cut."""
    calls: dict[tuple[int, str], ModelCall] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        when, what, pid, number = line.split()
        key = (int(pid), f"doc{number}")
        began = float(when) if what == "begin" else calls[key].began
        calls[key] = ModelCall(began, *key, None if what == "begin" else float(when))
    return sorted(calls.values(), key=lambda call: call.began)


def going_on(calls: list[ModelCall], done: int) -> ModelCall | None:
    """The last call that a process waits for, if ``done`` others have come back."""
    waited_for = [call for call in calls if call.ended is None and psutil.pid_exists(call.pid)]
    return waited_for[-1] if waited_for and sum(call.ended is not None for call in calls) >= done else None


@dataclass
class FaultRun:
    """Workers one after the other, their broker and their server; ``figures`` are for the report."""

    environment: dict[str, str]
    folder: Path
    server: Server
    broker: Broker
    app: Celery
    is_long: bool
    concurrency: int = CONCURRENCY
    workers: list[WorkerProcess] = field(default_factory=list)
    sent: dict[str, str] = field(default_factory=dict)
    sent_at: float = 0.0
    cut: list[ModelCall] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def worker(self) -> WorkerProcess:
        return self.workers[-1]

    @property
    def own_neo4j(self) -> OwnNeo4j:
        assert isinstance(self.server, OwnNeo4j)
        return self.server

    @property
    def workspace(self) -> str:
        return self.environment["LIGHTRAG_WORKSPACE"]

    def start_worker(self, app: str = "wiring.celery_app", **settings: str) -> WorkerProcess:
        log_file = self.folder / f"worker{len(self.workers)}.log"
        arguments = ("--concurrency", str(self.concurrency), "--hostname", f"worker{len(self.workers)}@%h")
        self.workers.append(WorkerProcess(log_file, self.environment | settings, app, arguments))
        return self.worker

    def send(self, documents: dict[str, str]) -> None:
        self.sent_at = time.monotonic()
        for key, text in documents.items():
            options = {"document_id": key, "file_path": f"notes/{key}.md"}
            # Only its id is kept: at its end, a result that waits for Redis wants to say so to Redis.
            self.sent[key] = str(self.app.send_task(TASK, (text,), options).id)

    def moments(self, times: int) -> list[int]:
        """After how many documents the fault happens: ``times`` times in a long run, once in a short one."""
        return [len(self.sent) * n // (times + 1) for n in range(1, times + 1)] if self.is_long else [2]

    def model_calls(self) -> list[ModelCall]:
        """What the model was asked; a call without an end goes on, or was cut."""
        return read_calls(Path(self.environment["MODEL_CALLS"]))

    def until_mid_document(self, done: int = 2) -> ModelCall:
        """Until the model has read ``done`` documents and a process waits for it to read another: that call."""

        call: ModelCall = self._until(lambda: going_on(self.model_calls(), done), "no process waits for the model")
        return call

    def expect_cut(self, call: ModelCall) -> None:
        """Its process was just killed; in the end this call must not have come back."""
        self.cut.append(call)

    def until_others_go_on(self, call: ModelCall) -> None:
        """Until another process asks the model; keeps the longest time that took."""
        began = time.monotonic()

        def look() -> bool:
            return any(other.began > call.began and other.pid != call.pid for other in self.model_calls())

        self._until(look, "no other process asks the model")
        name = "seconds until others went on"
        self.figures[name] = max(self.figures.get(name, 0.0), round(time.monotonic() - began, 1))

    def _until(self, look: Callable[[], Any], what: str) -> Any:
        return until(look, LONGEST_WAIT, told=lambda: f"{what}\n{self.ends_of_logs()}")

    def outcomes(self) -> dict[str, Any]:
        """What each task returned or raised; a task that does not end is a failure."""
        seconds = LONGEST_WAIT + 3.0 * len(self.sent)
        deadline = time.monotonic() + seconds
        waiting, ended = dict(self.sent), {}
        unreachable = getattr(self.app.backend, "connection_errors", ())  # a folder has none
        while waiting:
            for key, task in list(waiting.items()):
                with suppress(OSError, *unreachable):
                    meta = self.app.backend.get_task_meta(task)
                    if meta["status"] in READY_STATES:
                        ended[key] = meta["result"]
                        del waiting[key]
            assert time.monotonic() < deadline, f"no end of {[*waiting]} in {seconds:.0f} s\n{self.ends_of_logs()}"
            time.sleep(0.1)
        self.figures["seconds until all were done"] = round(time.monotonic() - self.sent_at, 1)
        self.figures["deliveries of a task, at the most"] = max(self.deliveries().values())
        return ended

    def check_all_are_there(self, expected: Graph | None = None) -> Graph:
        """Every task ended well, and what they left is whole, there once, and the graph is ``expected``."""
        outcomes = self.outcomes()
        assert {key: value for key, value in outcomes.items() if isinstance(value, Exception)} == {}
        self.stop()
        assert self.status() == dict.fromkeys(self.sent, "processed")
        ended = {(call.pid, call.document) for call in self.model_calls() if call.ended is not None}
        assert [call for call in self.cut if (call.pid, call.document) in ended] == []
        graph = read_graph(self.server, self.workspace)
        assert graph.twice == []
        assert self.vectors() == graph.sources
        if expected is not None:
            differences = graph.differences(expected)
            for what in ("sentences", "weight"):
                self.figures[f"{what} that differ"] = len(differences.pop(what))
            wrong = {what: keys for what, keys in differences.items() if keys}
            assert not wrong, pformat(wrong)
        return graph

    def vectors(self) -> dict[Key, frozenset[str]]:
        """The sources of what can be searched for."""
        return vectors_in_files(Path(self.environment["LIGHTRAG_WORKING_DIR"]) / self.workspace)

    def status(self) -> dict[str, str]:
        """What has become of each document."""
        return {key: row["status"] for key, row in doc_status(self.environment).items()}

    def stop(self) -> None:
        """The workers end when they are asked to, and leave no connection."""
        assert [worker.stop() for worker in self.workers if worker.process.poll() is None] in ([0], [0, 0])
        assert all("Logging error" not in worker.log for worker in self.workers)
        self.server.until_no_connection_is_left()

    def deliveries(self) -> dict[str, int]:
        """How often each document's task was received."""
        logs = "\n".join(worker.log for worker in self.workers)
        times = Counter(re.findall(rf"Task {TASK}\[([\w-]+)\] received", logs))
        return {key: times[task] for key, task in self.sent.items()}

    def ends_of_logs(self) -> str:
        return "\n".join("\n".join(worker.log.splitlines()[-40:]) for worker in self.workers)


@contextmanager
def fault_run(
    server: Server, make_broker: Callable[[Path], Broker], folder: Path, *, is_long: bool = False, **settings: str
) -> Iterator[FaultRun]:
    """A run in a workspace of its own, with nothing sent yet; ``settings`` are the worker's, by their variables."""
    workspace = f"test_{uuid.uuid4().hex[:12]}"
    with ExitStack() as stack:
        stack.callback(server.forget_workspace, workspace)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        broker = make_broker(folder)
        stack.callback(broker.close)
        broker.start()
        patch.chdir(folder)
        patch.setenv("APP_CONTAINER_CONFIG", str(PROJECT / "config.yaml"))
        environment = {
            **server.environment,
            **broker.environment,
            "APP_CONTAINER_CONFIG": config_with_model("watched"),
            "LIGHTRAG_WORKSPACE": workspace,
            "LIGHTRAG_WORKING_DIR": str(folder / "rag"),
            "CELERY_DATA_DIR": str(folder / "celery"),
            "MODEL_CALLS": str(folder / "model_calls"),
            "MODEL_SECONDS": "0.3",
            **settings,
        }
        for name, value in environment.items():
            patch.setenv(name, value)
        app = make_app(create_container().settings().celery)
        stack.callback(app.close)
        run = FaultRun(environment, folder, server, broker, app, is_long)
        try:
            yield run
        finally:
            for worker in run.workers:
                worker.kill()
