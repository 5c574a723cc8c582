"""LightRAG's own code on this project's storages, against upstream's storage on the same server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery
from lightrag import LightRAG
from lightrag.kg.neo4j_impl import Neo4JStorage
from lightrag.kg.shared_storage import initialize_share_data

from app_container import Container
from app_container.errors import NotWiredError
from tests.support.servers import Server
from wiring.lightrag import GRAPH_STORAGES, register_storages
from wiring.lightrag.models import bundled_tokenizer, embedding_function
from wiring.lightrag.offline import complete

TEXT = "Our team runs Celery with Redis. In production, Celery workers write to Neo4j, and Redis keeps the results."


@pytest.fixture(autouse=True)
def _shared_state() -> None:
    """What LightRAG's constructor does for its storages; some tests use a storage without it."""
    initialize_share_data()


def lightrag(container: Container, workspace: str, folder: Path, graph_storage: str) -> LightRAG:
    """As a user's own code would build it."""
    return LightRAG(
        working_dir=str(folder), workspace=workspace, graph_storage=graph_storage, llm_model_func=complete,
        embedding_func=embedding_function(container.settings().lightrag.embedding), tokenizer=bundled_tokenizer(),
    )  # fmt: skip


async def ingest(rag: LightRAG) -> tuple[list[str], list[tuple[str, str]]]:
    await rag.initialize_storages()
    await rag.ainsert(TEXT, ids=["one"])
    graph = rag.chunk_entity_relation_graph
    edges = [(edge["source"], edge["target"]) for edge in await graph.get_all_edges()]
    labels = await graph.get_all_labels()
    await rag.finalize_storages()
    return labels, [(min(edge), max(edge)) for edge in edges]


@pytest.mark.parametrize("graph_storage", GRAPH_STORAGES)
def test_unchanged_lightrag_code_gives_upstreams_graph(
    container: Container, neo4j_server: Server, workspace: str, tmp_path: Path, graph_storage: str
) -> None:
    register_storages()
    upstream = f"{workspace}_upstream"
    try:
        ours = asyncio.run(ingest(lightrag(container, workspace, tmp_path / "a", graph_storage)))
        theirs = asyncio.run(ingest(lightrag(container, upstream, tmp_path / "b", "Neo4JStorage")))
    finally:
        neo4j_server.forget_workspace(upstream)
    assert sorted(ours[0]) == sorted(theirs[0]) == ["Celery", "Neo4j", "Redis"]
    assert sorted(ours[1]) == sorted(theirs[1]) != []


def test_one_object_is_used_on_several_loops_with_a_driver_each(
    container: Container, neo4j_server: Server, workspace: str
) -> None:
    register_storages(container)
    from wiring.lightrag.storages import Neo4JAsyncStorage

    storage = Neo4JAsyncStorage("graph", {}, None, workspace=workspace)
    asyncio.run(storage.initialize())
    asyncio.run(storage.upsert_node("a", {"entity_id": "a", "description": "x"}))
    assert asyncio.run(storage.has_node("a"))
    assert neo4j_server.our_connections() == []


def test_the_hybrid_storage_uses_one_sync_driver_in_tasks_that_have_loops_of_their_own(
    container: Container, neo4j_server: Server, workspace: str, connections_opened: Callable[[], int]
) -> None:
    register_storages(container)
    from wiring.lightrag.storages import Neo4JHybridStorage

    storage = Neo4JHybridStorage("graph", {}, None, workspace=workspace)
    app = Celery(broker="memory://", backend="cache+memory://", set_as_current=False)

    @app.task(name="write")
    def write(name: str) -> bool:
        async def work() -> bool:
            await storage.initialize()
            await storage.upsert_node(name, {"entity_id": name, "description": name})
            return bool(await storage.has_node(name))

        return asyncio.run(work())

    assert all(write.apply(args=(f"node{n}",)).get() for n in range(10))
    assert not container.async_driver.initialized
    assert connections_opened() <= 4
    container.shutdown_resources()
    neo4j_server.until_no_connection_is_left()


def test_finalizing_one_storage_leaves_the_driver_to_the_others(container: Container, workspace: str) -> None:
    register_storages(container)
    from wiring.lightrag.storages import Neo4JHybridStorage

    async def main() -> bool:
        one, two = (Neo4JHybridStorage("graph", {}, None, workspace=workspace) for _ in range(2))
        await asyncio.gather(one.initialize(), two.initialize())
        await one.finalize()
        return bool(await two.has_node("nobody"))

    assert container.worker_loop().run(main()) is False


def test_many_coroutines_share_a_handful_of_connections(
    container: Container, workspace: str, connections_opened: Callable[[], int]
) -> None:
    register_storages(container)
    from wiring.lightrag.storages import Neo4JAsyncStorage

    async def main() -> None:
        storage = Neo4JAsyncStorage("graph", {}, None, workspace=workspace)
        await storage.initialize()
        nodes = [f"n{n}" for n in range(100)]
        await asyncio.gather(*(storage.upsert_node(name, {"entity_id": name}) for name in nodes))
        assert await storage.has_nodes_batch(nodes) == set(nodes)
        assert len((await storage.get_knowledge_graph("*", max_nodes=50)).nodes) == 50

    container.worker_loop().run(main(), timeout=60)
    assert connections_opened() <= 5


def test_a_storage_that_was_never_wired_says_so(container: Container, workspace: str) -> None:
    register_storages(container)
    from wiring.lightrag.storages import Neo4JHybridStorage

    container.unwire()
    storage = Neo4JHybridStorage("graph", {}, None, workspace=workspace)
    with pytest.raises(NotWiredError, match=r"not wired to the container: wiring\.lightrag\.storages \("):
        asyncio.run(storage.initialize())


def test_the_whole_interface_is_upstreams() -> None:
    from wiring.lightrag.storages import Neo4JAsyncStorage, Neo4JHybridStorage, Neo4JSyncStorage

    for storage in (Neo4JAsyncStorage, Neo4JHybridStorage, Neo4JSyncStorage):
        own = {name for name in vars(storage) if not name.startswith("_")}
        assert issubclass(storage, Neo4JStorage)
        assert own == ({"initialize", "mode"} if storage is Neo4JHybridStorage else {"initialize"})
