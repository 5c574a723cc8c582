"""Tasks that are coroutines, in a real prefork worker: everything Celery offers for tasks works for them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import chain, chord, group
from celery.exceptions import NotRegistered, SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded
from kombu.exceptions import EncodeError

from tests import PROJECT
from tests.support.servers import Server
from tests.support.workers import StartWorker, WorkerProcess
from wiring.testing.waiting import until

TIMEOUT = 40


@pytest.fixture
def tasks(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:  # noqa: ARG001 - it is set
    """The module of the worker's tasks, as who sends them imports it."""
    import importlib
    import sys

    module = importlib.import_module("tests.support.async_tasks")
    yield module
    module.app.close()
    module.container.unwire()
    del sys.modules["tests.support.async_tasks"]


@pytest.fixture
def worker(tasks: Any, start_worker: StartWorker) -> WorkerProcess:
    worker = start_worker("--concurrency", "2", app="tests.support.async_tasks")
    assert tasks.add.delay(1).get(timeout=60) == 2
    return worker


def test_calls_retries_and_canvas(tasks: Any, worker: WorkerProcess) -> None:
    add, total = tasks.add, tasks.total
    assert add.delay(1, c=2).get(timeout=TIMEOUT) == 4
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        add.delay(c=2)
    with pytest.raises(EncodeError):
        add.delay(object())
    with pytest.raises(NotRegistered, match="no_such_task"):
        tasks.app.send_task("no_such_task").get(timeout=TIMEOUT)

    results = [tasks.who.delay(str(n)) for n in range(4)]
    assert [result.get(timeout=TIMEOUT) for result in results] == [
        ["who", result.id, 2, str(n)] for n, result in enumerate(results)
    ]
    assert tasks.flaky.delay(2).get(timeout=TIMEOUT) == 2
    assert tasks.away.delay(2).get(timeout=TIMEOUT) == 2

    assert chain(add.s(1), add.s(2), add.s(3))().get(timeout=TIMEOUT) == 7
    assert group(add.s(n) for n in range(5))().get(timeout=TIMEOUT) == [1, 2, 3, 4, 5]
    assert chord((add.s(n) for n in range(5)), total.s())().get(timeout=TIMEOUT) == 15
    assert add.chunks([(n, 1) for n in range(6)], 3)().get(timeout=TIMEOUT) == [[1, 2, 3], [4, 5, 6]]
    assert add.starmap([(1, 2), (3, 4)]).delay().get(timeout=TIMEOUT) == [3, 7]
    assert tasks.fan_out.delay([1, 2, 3]).get(timeout=TIMEOUT) == 9

    # Log lines tell the task, also those of coroutines, of which several run in one thread.
    lines = re.findall(r"\[([\w-]+)\] I am ([\w-]+), try \d", worker.log)
    assert len(lines) == 12
    assert all(told == own for told, own in lines)


def test_limits_and_revocation_leave_no_connection_in_use(
    tasks: Any, worker: WorkerProcess, neo4j_server: Server, tmp_path: Path
) -> None:
    def held(mark: str) -> int:
        (file,) = until(lambda: list(tmp_path.glob(f"{mark}.*.held")))
        return int(file.suffixes[-2][1:])

    soft = tasks.stuck.apply_async((str(tmp_path / "soft"),), soft_time_limit=1)
    process = held("soft")
    with pytest.raises(SoftTimeLimitExceeded):
        soft.get(timeout=TIMEOUT)
    assert (tmp_path / "soft.cancelled").exists()
    assert (tmp_path / "soft.ended").read_text() == "0"
    found = until(lambda: [each for _ in range(4) if (each := tasks.in_use.delay().get(timeout=TIMEOUT))[0] == process])
    assert found[0] == [process, 0]

    hard = tasks.stubborn.apply_async((str(tmp_path / "hard"),), soft_time_limit=1, time_limit=2)
    killed = held("hard")
    with pytest.raises(TimeLimitExceeded):
        hard.get(timeout=TIMEOUT)
    revoked = tasks.stuck.delay(str(tmp_path / "revoked"))
    terminated = held("revoked")
    revoked.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        revoked.get(timeout=TIMEOUT)

    # The processes that were ended are replaced, and their connections are gone.
    def family() -> set[int]:
        return {child.pid for child in psutil.Process(worker.process.pid).children()}

    until(lambda: len(family()) >= 2 and family().isdisjoint({killed, terminated}))
    assert tasks.add.delay(1).get(timeout=TIMEOUT) == 2
    assert worker.stop() == 0
    neo4j_server.until_no_connection_is_left()


USERS_TEST = """
import pytest
from tests.support import async_tasks

pytest_plugins = ("celery.contrib.pytest",)

@pytest.fixture(scope="session")
def celery_session_app():
    return async_tasks.app

@pytest.fixture
def celery_app():
    return async_tasks.app

@pytest.fixture
def celery_worker_parameters():
    return {"perform_ping_check": False}

def test_with_a_worker_of_celerys_plugin(celery_app, celery_worker):
    assert async_tasks.add.delay(1, 2, c=3).get(timeout=20) == 6
    assert async_tasks.in_use.delay().get(timeout=20)[1] == 0

def test_eagerly(celery_app, monkeypatch):
    monkeypatch.setattr(celery_app.conf, "task_always_eager", True)
    assert async_tasks.away.delay(2).get() == 2
"""


def test_celerys_pytest_plugin(environment: dict[str, str], tmp_path: Path, neo4j_server: Server) -> None:
    (tmp_path / "test_mine.py").write_text(USERS_TEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), "-c", "/dev/null", "test_mine.py"],
        env={**os.environ, **environment, "PYTHONPATH": str(PROJECT)},
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert "2 passed" in done.stdout, done.stdout
    neo4j_server.until_no_connection_is_left()
