"""LightRAG's vectors in Neo4j give what its file-based ones give."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from app_container import Container, create_container
from app_container.errors import ConfigurationError
from tests.support.servers import Server
from wiring.testing.fixtures import forget_shared_state

T = TypeVar("T")

TEXTS = {
    "ent-1": {"entity_name": "Ada", "content": "Ada met Bob in the garden", "source_id": "a", "file_path": "a.md"},
    "ent-2": {"entity_name": "Bob", "content": "Bob sold a boat to Eve", "source_id": "b", "file_path": "b.md"},
    "ent-3": {"entity_name": "Eve", "content": "Eve bought a boat", "source_id": "c", "file_path": "c.md", "x": 1},
}
RELATIONS = {
    "rel-1": {"src_id": "Ada", "tgt_id": "Bob", "content": "Ada met Bob", "source_id": "a", "file_path": "a.md"},
    "rel-2": {"src_id": "Bob", "tgt_id": "Eve", "content": "Bob and Eve", "source_id": "b", "file_path": "b.md"},
}


@pytest.fixture
def vectors(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - it sets the rest
    monkeypatch.setenv("LIGHTRAG_VECTOR_STORAGE", "Neo4JVectorStorage")


def run(container: Container, work: Coroutine[Any, Any, T]) -> T:
    return container.worker_loop().run(work, 60)


def rag_of(container: Container) -> Any:
    return run(container, container.rag().get())


@pytest.mark.usefixtures("vectors")
def test_what_is_inserted_is_found_when_its_document_is_done(container: Container) -> None:
    entities = rag_of(container).entities_vdb
    run(container, entities.upsert(TEXTS))
    assert run(container, entities.query("a boat", 5)) == []
    assert run(container, entities.get_by_id("ent-2"))["entity_name"] == "Bob"
    run(container, entities.index_done_callback())
    found = run(container, entities.query("a boat", 2))
    assert [row["entity_name"] for row in found] == ["Eve", "Bob"]
    assert found[0]["distance"] > found[1]["distance"] > 0.2
    assert set(found[0]) == {"id", "entity_name", "content", "source_id", "file_path", "created_at", "distance"}


@pytest.mark.usefixtures("vectors")
def test_it_finds_what_the_files_find(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = ("a boat", "Who met Bob?", "garden", "something else entirely")

    def answers(container: Container) -> list[list[tuple[str, float]]]:
        entities = rag_of(container).entities_vdb
        run(container, entities.upsert(TEXTS))
        run(container, entities.index_done_callback())
        found = [run(container, entities.query(question, 3)) for question in questions]
        return [[(row["id"], round(float(row["distance"]), 3)) for row in rows] for rows in found]

    in_neo4j = answers(container)
    container.shutdown_resources()
    forget_shared_state()
    monkeypatch.setenv("LIGHTRAG_VECTOR_STORAGE", "NanoVectorDBStorage")
    files = create_container()
    assert in_neo4j == answers(files)
    assert any(in_neo4j)
    files.shutdown_resources()


@pytest.mark.usefixtures("vectors")
def test_by_ids_in_their_order_and_with_their_vectors(container: Container) -> None:
    entities = rag_of(container).entities_vdb
    run(container, entities.upsert({key: TEXTS[key] for key in ("ent-1", "ent-2")}))
    run(container, entities.index_done_callback())
    run(container, entities.upsert({"ent-3": TEXTS["ent-3"]}))
    rows = run(container, entities.get_by_ids(["ent-3", "nothing", "ent-1"]))
    assert [row and row["entity_name"] for row in rows] == ["Eve", None, "Ada"]
    assert all("embedding" not in row for row in rows if row)
    before = run(container, entities.get_vectors_by_ids(["ent-1", "ent-3", "nothing"]))
    assert set(before) == {"ent-1", "ent-3"}
    assert {len(vector) for vector in before.values()} == {256}
    run(container, entities.index_done_callback())
    assert run(container, entities.get_vectors_by_ids(["ent-1", "ent-3"])) == before


@pytest.mark.usefixtures("vectors")
def test_deleted_written_or_not(container: Container) -> None:
    rag = rag_of(container)
    relations = rag.relationships_vdb
    run(container, relations.upsert({"rel-1": RELATIONS["rel-1"]}))
    run(container, relations.index_done_callback())
    run(container, relations.upsert({"rel-2": RELATIONS["rel-2"]}))
    run(container, relations.delete_entity_relation("Bob"))
    run(container, relations.index_done_callback())
    assert run(container, relations.get_by_ids(list(RELATIONS))) == [None, None]
    run(container, rag.entities_vdb.upsert(TEXTS))
    run(container, rag.entities_vdb.delete(["ent-1"]))
    run(container, rag.entities_vdb.index_done_callback())
    assert [row is None for row in run(container, rag.entities_vdb.get_by_ids(list(TEXTS)))] == [True, False, False]
    assert run(container, rag.entities_vdb.drop()) == {"status": "success", "message": "data dropped"}
    assert run(container, rag.entities_vdb.query("a boat", 5)) == []


@pytest.mark.usefixtures("vectors")
def test_what_belongs_to_a_batch_that_is_given_up_is_forgotten(container: Container) -> None:
    entities = rag_of(container).entities_vdb
    run(container, entities.upsert(TEXTS))
    run(container, entities.drop_pending_index_ops())
    run(container, entities.index_done_callback())
    assert run(container, entities.get_by_ids(list(TEXTS))) == [None, None, None]


@pytest.mark.usefixtures("vectors")
def test_workspaces_do_not_see_each_other(container: Container, other: str) -> None:
    entities = rag_of(container).entities_vdb
    run(container, entities.upsert(TEXTS))
    run(container, entities.index_done_callback())
    others = run(container, container.rag().get(other)).entities_vdb
    assert run(container, others.query("a boat", 5)) == []
    assert run(container, others.get_by_id("ent-1")) is None


@pytest.mark.usefixtures("vectors")
def test_vectors_of_another_dimension_are_refused(container: Container, neo4j_server: Server, workspace: str) -> None:
    label = f"{workspace}/entities"
    neo4j_server.query(
        f"CREATE VECTOR INDEX `{label}` FOR (n:`{label}`) ON n.embedding OPTIONS {{indexConfig: "
        "{`vector.dimensions`: 64, `vector.similarity_function`: 'cosine'}}"
    )
    with pytest.raises(ConfigurationError, match=r"expected: 256, but loaded: 64.* use another LIGHTRAG_WORKSPACE"):
        rag_of(container)
