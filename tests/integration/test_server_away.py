"""Questions and deletions while Neo4j is away: LightRAG tells of it in words, and they are worth another try."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from neo4j.exceptions import ServiceUnavailable

from app_container import Container, create_container
from app_container.transient import passing_cause
from tests.support.containers import without_pauses
from tests.support.proxy import Proxy
from wiring.lightrag.errors import DocumentNotFoundError, QueryFailedError, WorkspaceUnavailableError
from wiring.testing.fixtures import forget_shared_state


@pytest.fixture
def container(
    environment: dict[str, str],  # noqa: ARG001 - it sets the variables
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Container]:
    without_pauses(monkeypatch)
    monkeypatch.setenv("NEO4J_URI", proxy.uri)
    monkeypatch.setenv("NEO4J_MAX_TRANSACTION_RETRY_TIME", "0.5")
    container = create_container()
    yield container
    container.shutdown_resources()
    forget_shared_state()


def test_a_question_and_a_deletion_fail_with_the_error_of_the_server(container: Container, proxy: Proxy) -> None:
    run, documents = container.worker_loop().run, container.documents()
    assert run(documents.insert("Our team runs Celery with Redis.", document_id="a"))["status"] == "processed"
    assert "Celery" in run(documents.query("Who runs Celery?"))["answer"]
    proxy.cut()
    with pytest.raises(QueryFailedError) as question:
        run(documents.query("Who runs Redis?"), 60)
    assert isinstance(passing_cause(question.value), ServiceUnavailable)
    with pytest.raises(WorkspaceUnavailableError) as deletion:
        run(documents.delete("a"), 60)
    assert isinstance(passing_cause(deletion.value), ServiceUnavailable)


def test_a_deletion_that_may_have_been_done_before_succeeds_when_the_document_is_gone(container: Container) -> None:
    run, documents = container.worker_loop().run, container.documents()
    run(documents.insert("Our team runs Celery with Redis.", document_id="a"))
    assert run(documents.delete("a"))["status"] == "deleted"
    with pytest.raises(DocumentNotFoundError):
        run(documents.delete("a"))
    assert run(documents.delete("a", again=True))["status"] == "deleted"
