"""How the LightRAG objects of a process are closed; what they do is tested on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from lightrag.kg.shared_storage import finalize_share_data, initialize_share_data

from app_container.settings import LightRAGSettings
from app_container.worker_loop import WorkerLoop
from wiring.lightrag.workspaces import Workspaces


class FakeRag:
    """The part of LightRAG that is used to open and close one."""

    def __init__(self, seconds_to_close: float) -> None:
        self.workspace = "default"
        self.events: list[str] = []
        self.role_llm_funcs = {"query": SimpleNamespace(shutdown=self._shutdown)}
        self.embedding_func = SimpleNamespace(func=SimpleNamespace(shutdown=self._shutdown))
        self._seconds = seconds_to_close

    async def initialize_storages(self) -> None:
        self.events.append("initialized")

    async def finalize_storages(self) -> None:
        await asyncio.sleep(self._seconds)
        self.events.append("finalized")

    async def _shutdown(self, *, graceful: bool) -> None:
        assert not graceful
        self.events.append("queue ended")


@pytest.fixture
def loop() -> Iterator[WorkerLoop]:
    initialize_share_data()  # as every LightRAG does when it is made
    loop = WorkerLoop(shutdown_timeout=2.0)
    yield loop
    loop.close()
    finalize_share_data()


class NoLeases:
    """Nothing is inserted here, and the storages have no files."""

    async def ensure_schema(self) -> None:
        pass

    def session(self) -> None:
        pass


def opened(loop: WorkerLoop, monkeypatch: pytest.MonkeyPatch, rag: Any) -> Workspaces:
    monkeypatch.setattr("wiring.lightrag.workspaces.build_lightrag", lambda *_: rag)
    settings = LightRAGSettings(
        kv_storage="RedisKVStorage", vector_storage="Neo4JVectorStorage", doc_status_storage="RedisDocStatusStorage"
    )
    workspaces = Workspaces(settings, loop, NoLeases())  # type: ignore[arg-type]
    assert loop.run(workspaces.get()) is rag
    assert loop.run(workspaces.get()) is rag
    return workspaces


def test_queues_end_before_storages_are_finalized(loop: WorkerLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    rag = FakeRag(0)
    workspaces = opened(loop, monkeypatch, rag)
    workspaces.close()
    workspaces.close()
    assert rag.events == ["initialized", "queue ended", "queue ended", "finalized"]


def test_closing_is_bounded(
    loop: WorkerLoop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("wiring.lightrag.workspaces.CLOSE_TIMEOUT", 0.1)
    workspaces = opened(loop, monkeypatch, FakeRag(60))
    workspaces.close()
    assert "LightRAG did not close within 0 s and was abandoned" in caplog.text
