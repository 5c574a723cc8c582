"""What a test puts in the place of a provider reaches everybody who receives from it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from lightrag.kg.shared_storage import initialize_share_data

from app_container import Container
from tests.support import overridden
from tests.support.overridden import ASK, PROVIDERS
from tests.support.python_processes import StartPython
from wiring.celery import async_task, setup
from wiring.lightrag import register_storages


@pytest.fixture
def wired(container: Container) -> Iterator[Container]:
    container.wire(modules=[overridden])
    yield container
    container.unwire()


@pytest.mark.parametrize("name", PROVIDERS)
def test_celery_tasks_receive_it(wired: Container, name: str) -> None:
    app = Celery(broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.task_always_eager = True
    setup(app, wired)

    @app.task(name="plain", shared=False)
    def plain() -> object:
        return ASK[name]()

    @async_task(app, name="coroutine", shared=False)
    async def coroutine() -> object:
        return ASK[name]()

    loop = wired.worker_loop()
    fake: Any = loop if name == "worker_loop" else f"a fake {name}"  # an async task needs one that works
    with getattr(wired, name).override(fake):
        assert plain.delay().get() is fake
        assert coroutine.delay().get() is fake


def test_prefect_flows_and_tasks_receive_it(start_flow: StartPython) -> None:
    answers = start_flow("-m", "tests.support.overridden").finish()
    assert answers == {name: [f"a fake {name}"] * 4 for name in PROVIDERS}


@pytest.mark.parametrize(
    ("storage", "provider"),
    [
        ("Neo4JSyncStorage", "sync_driver"),
        ("Neo4JSyncStorage", "bridged_driver"),
        ("Neo4JAsyncStorage", "async_driver"),
        ("Neo4JHybridStorage", "async_driver"),
        ("Neo4JHybridStorage", "driver"),
    ],
)
def test_storages_receive_it(container: Container, workspace: str, storage: str, provider: str) -> None:
    register_storages(container)
    from wiring.lightrag import storages

    initialize_share_data()  # as LightRAG's constructor does
    asked: list[dict[str, Any]] = []

    class Fake:
        def session(self, **config: Any) -> Any:
            asked.append(config)
            raise ConnectionRefusedError

    graph = getattr(storages, storage)("graph", {}, None, workspace=workspace)
    with getattr(container, provider).override(Fake()), pytest.raises(ConnectionRefusedError):
        asyncio.run(graph.initialize())
    assert asked == [{"database": "neo4j"}]


def test_documents_and_storages_follow_the_settings(container: Container) -> None:
    settings = container.settings()
    other = settings.model_copy(update={"lightrag": settings.lightrag.model_copy(update={"workspace": "other"})})
    with container.settings.override(other), container.rag.reset():
        assert container.rag().check_name(None) == "other"
    assert container.rag().check_name(None) == settings.lightrag.workspace
