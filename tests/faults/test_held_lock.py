"""A write behind a lock that an idle client holds: without a bound of its own it would wait for ever."""

from __future__ import annotations

import time

import pytest
from neo4j import GraphDatabase

from app_container import Container, create_container
from tests.support.containers import without_pauses
from tests.support.servers import Server
from wiring.lightrag.errors import DocumentPostponedError

PATIENCE = 60.0
"""Seconds; LightRAG tries a write three times, and the bound on each is one second."""


@pytest.mark.parametrize("storage", ["Neo4JHybridStorage", "Neo4JSyncStorage"])
def test_a_write_behind_a_lock_ends_and_succeeds_when_it_is_free(
    neo4j_server: Server, workspace: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    monkeypatch.setenv("NEO4J_TRANSACTION_TIMEOUT", "1")
    monkeypatch.setenv("NEO4J_MAX_TRANSACTION_RETRY_TIME", "1")
    monkeypatch.setenv("LIGHTRAG_GRAPH_STORAGE", storage)
    without_pauses(monkeypatch)
    container: Container = create_container()
    loop, documents = container.worker_loop(), container.documents()
    assert loop.run(documents.insert("Here Ada met Bob.", document_id="a"))["status"] == "processed"

    auth = (environment["NEO4J_USERNAME"], environment["NEO4J_PASSWORD"])
    with GraphDatabase.driver(neo4j_server.uri, auth=auth) as driver, driver.session() as session:
        holder = session.begin_transaction()
        holder.run(f"MATCH (n:`{workspace}` {{entity_id: 'Ada'}}) SET n.held = true").consume()
        started = time.monotonic()
        with pytest.raises(
            DocumentPostponedError, match=r"document 'b' could not be processed now: .*LockClientStopped"
        ):
            loop.run(documents.insert("Here Ada met Eve.", document_id="b"), PATIENCE)
        assert time.monotonic() - started < PATIENCE
        holder.rollback()
    assert loop.run(documents.insert("Here Ada met Eve.", document_id="b"), PATIENCE)["status"] == "processed"
    container.shutdown_resources()
