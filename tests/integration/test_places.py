"""What ``container.driver()`` gives in every kind of place: real ones, asked side by side.

docs/lifetimes.md shows the table of what was seen; ``WRITE_DOCS=1 python -m pytest tests/integration/test_places.py``
writes it anew.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from app_container import create_container
from tests import PROJECT, SETTINGS
from tests.support import places_table
from tests.support.place_processes import TIMEOUT, Kernel, PlaceProcess
from tests.support.places import ASYNC, BRIDGED, LOG, SYNC, DriverLog, Place, Visit, shown, visiting
from tests.support.prefect_servers import PrefectServer
from tests.support.servers import Server
from tests.support.workers import WorkerProcess
from wiring.celery.options import make_app

POOL_SIZE = 5


@dataclass
class Seen:
    """What all places answered, and the logs of their processes."""

    visits: list[Visit] = field(default_factory=list)
    logs: list[DriverLog] = field(default_factory=list)

    def of(self, pattern: str) -> list[Visit]:
        found = [visit for visit in self.visits if re.search(pattern, visit.place.name)]
        assert found, f"no place is called {pattern}"
        return found


@pytest.fixture(scope="module")
def seen(
    neo4j_server: Server, prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("places")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as running:
        for name in list(os.environ):
            if name.startswith(SETTINGS):
                patch.delenv(name)
        patch.setenv("APP_CONTAINER_CONFIG", str(PROJECT / "config.yaml"))
        patch.setenv("LIGHTRAG_WORKING_DIR", str(folder / "rag"))
        for name, value in neo4j_server.environment.items():
            patch.setenv(name, value)
        yield visit_all(folder, running, prefect_server)
        neo4j_server.until_no_connection_is_left()


def visit_all(folder: Path, running: ExitStack, flows: PrefectServer) -> Seen:
    """Start every place, ask in each, and let it end; what fails to end is ended with ``running``."""
    workers = {pool: start_worker(folder, running, pool) for pool in ("prefork", "solo", "threads")}

    def start(name: str, *arguments: str, **environment: str) -> PlaceProcess:
        process = PlaceProcess(folder, name, *arguments, **environment)
        running.callback(process.kill)
        return process

    plain = start("plain", "tests.support.plain_places")
    web = start("web", "uvicorn", "tests.support.web_places:app", "--port", "0")
    kernel = Kernel(folder)
    running.callback(kernel.kill)
    prefect = start(
        "prefect",
        "tests.support.prefect_places",
        **flows.environment | {"PREFECT_LOGGING_LEVEL": "ERROR", "NEO4J_MAX_POOL_SIZE": str(POOL_SIZE)},
    )

    visits = [*shown(plain.finish(TIMEOUT)), *ask_web(web), ask_kernel(kernel)]
    kernel.finish()
    for pool, worker in workers.items():
        visits += ask_worker(folder, pool)
        worker.process.send_signal(signal.SIGTERM)
    assert [worker.process.wait(TIMEOUT) for worker in workers.values()] == [0, 0, 0]
    visits += shown(prefect.finish(TIMEOUT))
    logs = [
        plain.drivers,
        web.drivers,
        kernel.drivers,
        prefect.drivers,
        *(worker_log(folder, pool) for pool in workers),
    ]
    return Seen(visits, logs)


def ask_web(web: PlaceProcess) -> list[Visit]:
    address = web.until_it_says(r"Uvicorn running on (\S+)", TIMEOUT)
    visits = []
    for path, place in {
        "async": Place("FastAPI: an `async def` endpoint", "10 requests", loop="the server"),
        "sync": Place("FastAPI: a `def` endpoint", "10 requests"),
    }.items():
        with visiting(place, web.drivers) as visit, httpx.Client(base_url=address, timeout=TIMEOUT) as client:
            visit.answers = [client.get(f"/{path}").raise_for_status().json() for _ in range(10)]
        visits.append(visit)
    web.process.send_signal(signal.SIGTERM)
    web.process.wait(TIMEOUT)  # its exit code is the signal, by uvicorn's choice
    return visits


def ask_kernel(kernel: Kernel) -> Visit:
    kernel.run("import json; from tests.support.places import ask_async")
    with visiting(Place("a Jupyter cell", "10 cells", loop="the kernel"), kernel.drivers) as visit:
        visit.answers = [json.loads(kernel.run("print(json.dumps(await ask_async('cell')))")) for _ in range(10)]
    return visit


def start_worker(folder: Path, running: ExitStack, pool: str) -> WorkerProcess:
    environment = {"CELERY_DATA_DIR": str(folder / pool), LOG: str(worker_log(folder, pool).file)}
    arguments = ["--pool", pool, "--concurrency", "2"]
    worker = WorkerProcess(folder / f"{pool}.log", environment, "tests.support.celery_places", arguments)
    running.callback(worker.kill)
    return worker


def worker_log(folder: Path, pool: str) -> DriverLog:
    return DriverLog(folder / f"{pool}.drivers")


def ask_worker(folder: Path, pool: str) -> list[Visit]:
    settings = create_container().settings().celery.model_copy(update={"data_dir": folder / pool})
    visits = []
    with make_app(settings) as app:
        for task, name in {
            "plain": "a plain task",
            "own_loop": "a task's own `asyncio.run`",
            "async_task": "an `async_task`, on the worker loop",
        }.items():
            asks = "10 tasks, in each process" if pool == "prefork" else "10 tasks"
            place = Place(f"Celery, {pool}: {name}", asks, "the worker process", "the worker process")
            with visiting(place, worker_log(folder, pool)) as visit:
                results = [app.send_task(task) for _ in range(10)]
                visit.answers = [result.get(timeout=TIMEOUT) for result in results]
            visits.append(visit)
    return visits


def test_every_place_gives_one_kind_of_driver_for_one_reason_and_opens_one_in_a_process(seen: Seen) -> None:
    for visit in seen.visits:
        assert len(visit.kinds) == len(visit.reasons) == 1, visit
        (kind,) = visit.kinds
        assert visit.opened[ASYNC if kind == ASYNC else SYNC] == visit.processes >= 1, visit
        assert visit.opened[SYNC if kind == ASYNC else ASYNC] == 0, visit


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("^a (script|thread)", SYNC),
        ("^`asyncio.run", ASYNC),
        ("^FastAPI: an `async def`", ASYNC),
        ("^FastAPI: a `def`", SYNC),
        ("^a Jupyter cell", ASYNC),
        ("^Celery.* plain task", SYNC),
        ("^Celery.* own `asyncio.run`", BRIDGED),
        ("^Celery.* on the worker loop", ASYNC),
        ("^Prefect: a sync task,", SYNC),
        ("^Prefect: a sync task's own", BRIDGED),
        ("^Prefect: (a sync flow|a sync task or sync flow, called by an async flow)$", SYNC),
        ("^Prefect: (an async flow|a sync flow's own `asyncio.run`)$", ASYNC),
        ("^Prefect: an async task, awaited in an async flow", ASYNC),
        ("^Prefect: (an )?async tasks?, (submitted|mapped) by", BRIDGED),
        ("^Prefect: .* in an (awaited task|async flow)", ASYNC),
        ("^Prefect: .* in a submitted task", BRIDGED),
    ],
)
def test_what_is_promised_is_given(seen: Seen, place: str, kind: str) -> None:
    for visit in seen.of(place):
        assert visit.kinds == {kind}, visit.place


def test_a_hundred_mapped_tasks_share_one_driver_and_its_pool(seen: Seen) -> None:
    (visit,) = seen.of("mapped")
    assert len(visit.answers) == 100
    assert visit.opened == {SYNC: 1, ASYNC: 0}
    assert visit.connections is not None
    assert 1 <= visit.connections <= POOL_SIZE


def test_every_driver_is_closed_by_the_process_that_opened_it(seen: Seen, neo4j_server: Server) -> None:
    for log in seen.logs:
        assert sorted(log.drivers("opened")) == sorted(log.drivers("closed")), log.text
        assert log.drivers("opened"), log.file
    neo4j_server.until_no_connection_is_left()


def test_the_table_in_the_documentation_is_what_was_seen(seen: Seen) -> None:
    table = places_table.table_of(seen.visits)
    if os.environ.get("WRITE_DOCS"):
        places_table.write(table)
    command = "WRITE_DOCS=1 .venv/bin/python -m pytest tests/integration/test_places.py"
    assert places_table.table_on_the_page() == table, f"if it is right, write {places_table.PAGE.name} anew: {command}"
