"""Every pool of Celery, and every way to end a worker: a driver for each process, and nothing left on the server."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from celery import Celery

from app_container import create_container
from tests import PROJECT
from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.workers import StartWorker, WorkerProcess, insert
from wiring.celery.options import make_app
from wiring.runner import Document
from wiring.testing.waiting import until

POOL_WORKER = "tests.support.pool_worker"
TIMEOUT = 60.0
SPAWN = {"POOL_START_METHOD": "spawn"}  # of pool_worker.py
TERM, QUIT, INT = signal.SIGTERM, signal.SIGQUIT, signal.SIGINT


@pytest.fixture
def app(environment: dict[str, str]) -> Iterator[Celery]:  # noqa: ARG001 - it sets the variables
    """Sends tasks to the worker of the test."""
    with make_app(create_container().settings().celery) as app:
        yield app


def use_drivers(app: Celery, times: int = 4) -> set[int]:
    """Use both drivers in a few tasks; returns the processes these ran in."""
    results = [app.send_task(name, args) for name, args in (("plain", ()), ("on_the_loop", (0.2,))) * times]
    return {result.get(timeout=TIMEOUT) for result in results}


def family_of(worker: WorkerProcess) -> list[psutil.Process]:
    parent = psutil.Process(worker.process.pid)
    return [parent, *parent.children(recursive=True)]


def assert_nothing_is_left(family: list[psutil.Process], server: Server | None = None) -> None:
    _, alive = psutil.wait_procs(family, 10)
    assert alive == []
    if server is not None:
        server.until_no_connection_is_left()


def assert_each_process_closed_what_it_opened(log: str) -> None:
    def drivers(what: str) -> list[str]:
        return sorted(re.findall(rf"{what} (\w+) .*(process \d+)", log))

    opened = drivers("opened")
    assert opened == drivers("closed")
    assert len(opened) == len(set(opened)) > 0


@dataclass(frozen=True)
class End:
    """A pool, and the signals its worker is sent; ``busy``: while it runs a task that takes longer than all this."""

    pool: str
    signals: tuple[signal.Signals, ...]
    busy: bool = False
    change: dict[str, str] = field(default_factory=dict)


ENDS = [
    End("prefork", (INT,)),
    End("prefork", (QUIT,), busy=True),
    End("prefork", (TERM,), change=SPAWN),
    End("prefork", (INT, INT), busy=True, change=SPAWN),
    End("solo", (TERM,)),
    End("solo", (QUIT,), busy=True),
    End("threads", (INT,)),
    End("threads", (TERM, QUIT), busy=True),
]


def test_workers_that_are_told_to_end_leave_nothing(
    start_worker: StartWorker, neo4j_server: Server, tmp_path: Path
) -> None:
    settings = create_container().settings().celery
    folders = [tmp_path / f"celery{number}" for number in range(len(ENDS))]
    workers = [
        start_worker(
            "--pool", end.pool, "--concurrency", "2", app=POOL_WORKER, CELERY_DATA_DIR=str(folder), **end.change
        )
        for end, folder in zip(ENDS, folders, strict=True)
    ]  # all at once, for most of a shutdown is waiting
    apps = [make_app(settings.model_copy(update={"data_dir": folder})) for folder in folders]
    for end, worker, app in zip(ENDS, workers, apps, strict=True):
        assert (worker.process.pid in use_drivers(app)) == (end.pool != "prefork")
    families = [family_of(worker) for worker in workers]
    for running in [app.send_task("on_the_loop", (8.0,)) for end, app in zip(ENDS, apps, strict=True) if end.busy]:
        until(lambda: running.state == "STARTED")  # noqa: B023 - it is called at once
    for number in range(2):
        for end, worker in zip(ENDS, workers, strict=True):
            for how in end.signals[number : number + 1]:
                worker.process.send_signal(how)
        time.sleep(0.5)  # the second one comes while the first takes its course
    for end, worker, family in zip(ENDS, workers, families, strict=True):
        worker.process.wait(TIMEOUT)
        assert_nothing_is_left(family)
        assert_each_process_closed_what_it_opened(worker.log)
        # Celery's own traceback: only processes can be told to give up a task.
        assert "Traceback" not in worker.log or (end.busy and end.pool != "prefork"), end
    neo4j_server.until_no_connection_is_left()


def test_children_that_come_and_go_close_their_drivers_beside_an_embedded_beat(
    start_worker: StartWorker, neo4j_server: Server, app: Celery
) -> None:
    worker = start_worker("--concurrency", "2", "--max-tasks-per-child", "3", "--beat", app=POOL_WORKER)
    assert len(use_drivers(app, 6)) >= 4
    until(lambda: worker.log.count("Sending due task beat") >= 2)
    family = family_of(worker)
    assert worker.stop() == 0
    assert_nothing_is_left(family, neo4j_server)
    assert_each_process_closed_what_it_opened(worker.log)
    assert "Traceback" not in worker.log


@pytest.mark.parametrize("change", [{}, SPAWN])
def test_children_whose_parent_is_killed_end_and_leave_no_connection(
    start_worker: StartWorker, neo4j_server: Server, app: Celery, change: dict[str, str]
) -> None:
    worker = start_worker("--concurrency", "2", app=POOL_WORKER, **change)
    use_drivers(app)
    family = family_of(worker)
    app.send_task("on_the_loop", (30.0,))
    worker.process.kill()
    worker.process.wait(TIMEOUT)
    assert_nothing_is_left(family, neo4j_server)


def test_a_worker_in_the_background_is_started_and_stopped_by_celery_multi(
    environment: dict[str, str], neo4j_server: Server, app: Celery, tmp_path: Path
) -> None:
    pid_file, log_file = tmp_path / "one.pid", tmp_path / "one.log"
    files = [f"--pidfile={pid_file}", f"--logfile={log_file}", "--loglevel=INFO"]
    multi(environment, "start", "one", "-A", POOL_WORKER, "--concurrency=2", *files)
    try:
        use_drivers(app)
        parent = psutil.Process(int(pid_file.read_text()))
        family = [parent, *parent.children(recursive=True)]
    finally:
        multi(environment, "stopwait", "one", *files)
    assert_nothing_is_left(family, neo4j_server)
    assert_each_process_closed_what_it_opened(log_file.read_text())
    assert "Traceback" not in log_file.read_text()


def multi(environment: dict[str, str], *arguments: str) -> None:
    command = [sys.executable, "-m", "celery", "multi", *arguments]
    subprocess.run(command, env={**os.environ, **environment, "PYTHONPATH": str(PROJECT)}, timeout=TIMEOUT, check=True)


def test_the_ready_worker_works_in_solo_and_threads_pools(start_worker: StartWorker, neo4j_server: Server) -> None:
    for number, pool in enumerate(("solo", "threads")):
        worker = start_worker("--pool", pool, "--concurrency", "2")
        workers = worker.until_found()
        outcomes = insert(workers, [Document(f"Here A{number}{n} met B.", f"{number}{n}.md") for n in range(4)])
        assert [outcome.error for outcome in outcomes if outcome.error] == []
        assert worker.stop() == 0
        assert worker.drivers("opened") == worker.drivers("closed") == [worker.process.pid]
        neo4j_server.until_no_connection_is_left()


READY_SPAWN = "from wiring.celery_app import app\napp.conf.worker_pool_start_method = 'spawn'\n"


def test_the_ready_worker_works_with_one_spawned_child_and_refuses_several(
    start_worker: StartWorker, neo4j_server: Server
) -> None:
    Path("ready_spawn.py").write_text(READY_SPAWN)
    line = start_worker("--concurrency", "2", app="ready_spawn").failing_start()
    assert line == (
        "2 spawned children share nothing, and JsonDocStatusStorage, JsonKVStorage, NanoVectorDBStorage in each would "
        "lose what the others write; set worker_pool_start_method to 'fork', or use --pool threads, or "
        "--concurrency 1, or storages that are servers"
    )
    limit = ("--max-tasks-per-child", "2")
    worker = start_worker("--concurrency", "1", *limit, app="ready_spawn", LOG_FORMAT="json")
    workers = worker.until_found()
    outcomes = insert(workers, [Document(f"Here A{n} met B.", f"{n}.md") for n in range(3)])
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    family = family_of(worker)
    assert worker.stop() == 0
    assert_nothing_is_left(family, neo4j_server)
    assert len(worker.drivers("opened")) == 2
    assert_each_process_closed_what_it_opened(worker.log)
    told = [line for line in worker.json_lines() if "document_id" in line and "task_id" in line]
    assert len({line["task_id"] for line in told}) == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--pool", "gevent"], "--pool gevent cannot be used: its tasks share one thread with the worker loop"),
        (["--pool", "eventlet"], "--pool eventlet cannot be used: its tasks share one thread with the worker loop"),
    ],
)
def test_a_pool_that_would_work_only_now_and_then_is_refused(
    start_worker: StartWorker, arguments: list[str], expected: str
) -> None:
    worker = start_worker(*arguments, app=POOL_WORKER)
    assert worker.process.wait(TIMEOUT) == 1
    (line,) = [line for line in worker.log.splitlines() if line.startswith(expected)]
    assert "; use --" in line


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"NEO4J_PASSWORD": "wrong-password"}, "refuses user 'neo4j' with the password it was given; set"),
        ({"NEO4J_URI": "bolt://127.0.0.1:1"}, "Neo4j at bolt://127.0.0.1:1 does not answer"),
    ],
)
def test_an_own_worker_that_cannot_work_does_not_start(
    start_worker: StartWorker, change: dict[str, str], expected: str
) -> None:
    assert expected in start_worker(app=POOL_WORKER, **change).failing_start()


def test_a_pool_that_grows_and_shrinks_closes_its_drivers(
    start_worker: StartWorker, neo4j_server: Server, app: Celery
) -> None:
    worker = start_worker("--autoscale", "4,1", app=POOL_WORKER)
    results = [app.send_task("on_the_loop", (1.0,)) for _ in range(8)]
    assert len({result.get(timeout=TIMEOUT) for result in results}) > 1
    family = family_of(worker)
    assert worker.stop() == 0
    assert_nothing_is_left(family, neo4j_server)
    assert_each_process_closed_what_it_opened(worker.log)


def test_a_worker_that_need_not_check_starts_without_the_server_and_works_when_it_is_there(
    start_worker: StartWorker, neo4j_server: Server
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"bolt://127.0.0.1:{port}"
    worker = start_worker("--concurrency", "2", NEO4J_URI=uri, CELERY_CHECK_SERVER="false")
    workers = worker.until_found()  # it answers a ping
    assert f"did not look for Neo4j at {uri}" in worker.log
    insertion = workers._app.send_task("lightrag.insert_document", ("Here Ada met Bob.",), {"document_id": "a"})
    until(lambda: "] retry: Retry in " in worker.log)
    with Proxy(neo4j_server.uri, port=port):
        assert insertion.get(timeout=TIMEOUT)["status"] == "processed"
        worker.kill()
