"""The hybrid storage says which driver it took, and why, and takes that driver."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from lightrag.kg.shared_storage import initialize_share_data

from app_container import Container
from tests.support.python_processes import StartPython
from tests.support.servers import Server
from wiring.lightrag import register_storages

if TYPE_CHECKING:
    from wiring.lightrag.storages import Neo4JHybridStorage

Run = Callable[[Container, Coroutine[Any, Any, Any]], Any]

OWN = ("loop", "an event loop of the application's own: its async driver")
LASTING = ("loop", "the worker loop lasts as long as the process: its async driver")
CELERY = ("bridge", "a loop inside a Celery task passes with the task: the sync driver, bridged")
PREFECT = ("bridge", "a loop inside a Prefect task passes with the task: the sync driver, bridged")
NO_LOOP = ("process", "no event loop runs in this thread: the process's sync driver")


@pytest.fixture
def storage(container: Container, workspace: str) -> Neo4JHybridStorage:
    initialize_share_data()  # LightRAG's constructor does it for its storages
    register_storages(container)
    from wiring.lightrag.storages import Neo4JHybridStorage

    return Neo4JHybridStorage("graph", {}, None, workspace=workspace)


def opened(log: str) -> list[str]:
    """The drivers that were opened: "Async" or ""."""
    return re.findall(r"opened (Async)?\w*Driver", log)


async def use(storage: Neo4JHybridStorage) -> Any:
    await storage.initialize()
    await storage.upsert_node("a", {"entity_id": "a"})
    return storage.mode()


def on_a_loop_of_its_own(_: Container, work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def on_the_worker_loop(container: Container, work: Coroutine[Any, Any, Any]) -> Any:
    return container.worker_loop().run(work)


def in_a_celery_task(_: Container, work: Coroutine[Any, Any, Any]) -> Any:
    app = Celery(broker="memory://", backend="cache+memory://", set_as_current=False)

    @app.task(name="task", shared=False)
    def task() -> Any:
        return asyncio.run(work)

    return task.apply().get()


@pytest.mark.parametrize(
    ("run", "mode"), [(on_a_loop_of_its_own, OWN), (on_the_worker_loop, LASTING), (in_a_celery_task, CELERY)]
)
def test_it_says_which_driver_it_takes_and_takes_it(
    container: Container,
    storage: Neo4JHybridStorage,
    caplog: pytest.LogCaptureFixture,
    run: Run,
    mode: tuple[str, str],
) -> None:
    caplog.set_level("INFO", logger="app_container")
    caplog.set_level("INFO", logger="wiring.lightrag")
    assert run(container, use(storage)) == mode
    said = [record.getMessage() for record in caplog.records if record.name == "wiring.lightrag"]
    assert said == [f"Neo4JHybridStorage of workspace {storage.workspace!r}: {mode[1]}"]
    assert opened(caplog.text) == {"loop": ["Async"], "bridge": [""]}[mode[0]]


def test_the_mode_is_that_of_the_place_where_it_is_asked(container: Container, storage: Neo4JHybridStorage) -> None:
    async def ask() -> Any:
        return storage.mode()

    assert asyncio.run(use(storage)) == OWN
    assert container.worker_loop().run(ask()) == LASTING
    assert in_a_celery_task(container, ask()) == CELERY
    assert storage.mode() == NO_LOOP


FLOW = """
import json, logging
from lightrag.kg.shared_storage import initialize_share_data
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from app_container import create_container
from wiring.lightrag import register_storages

for name in ("app_container", "wiring.lightrag"):
    logging.getLogger(name).setLevel(logging.INFO)
container = create_container()
register_storages()
initialize_share_data()
from wiring.lightrag.storages import Neo4JHybridStorage

@task(cache_policy=NO_CACHE)
async def use():
    storage = Neo4JHybridStorage("graph", {}, None, workspace=container.settings().lightrag.workspace)
    await storage.initialize()
    await storage.upsert_node("a", {"entity_id": "a"})
    return storage.mode()

@flow
def submit():
    return use.submit().result(timeout=60)

print(json.dumps(submit()))
"""


def test_in_a_submitted_prefect_task(start_flow: StartPython, neo4j_server: Server, workspace: str) -> None:
    process = start_flow("-c", FLOW)
    assert tuple(process.finish()) == PREFECT
    assert process.log.count(f"Neo4JHybridStorage of workspace {workspace!r}: {PREFECT[1]}\n") == 1
    assert opened(process.log) == [""]
    neo4j_server.until_no_connection_is_left()
