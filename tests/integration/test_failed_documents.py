"""What becomes of documents that fail: which are worth another try, and what is told about the others."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightrag.kg import json_doc_status_impl

from app_container import Container, create_container
from app_container.errors import PassingError
from tests.support.models import config_with_model
from wiring.lightrag.documents import Documents
from wiring.lightrag.errors import DocumentPostponedError
from wiring.lightrag.ingest import Progress
from wiring.lightrag.results import Inserted
from wiring.lightrag.workspaces import Workspaces
from wiring.testing.fixtures import forget_shared_state


@pytest.fixture
def forgive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "forgive"
    monkeypatch.setenv("FORGIVE", str(file))
    return file


@pytest.fixture
def container(
    request: pytest.FixtureRequest,
    environment: dict[str, str],  # noqa: ARG001 - it sets the variables
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Container]:
    monkeypatch.setenv("APP_CONTAINER_CONFIG", config_with_model(request.param))
    monkeypatch.setenv("LIGHTRAG_LEASE_TERM", str(TERM))
    container = create_container()
    yield container
    container.shutdown_resources()
    forget_shared_state()


def insert(container: Container, text: str, seconds: float | None = None) -> Inserted:
    documents: Documents = container.documents()
    return container.worker_loop().run(documents.insert(text, document_id="a"), seconds)


@pytest.mark.parametrize("container", ["without_neo4j"], indirect=True)
def test_a_document_that_met_a_server_that_was_away_is_worth_another_try(container: Container, forgive: Path) -> None:
    reason = "document 'a' could not be processed now: ServiceUnavailable: .*the server is away"
    with pytest.raises(DocumentPostponedError, match=reason) as caught:
        insert(container, "Here Ada met Bob.")
    assert isinstance(caught.value, PassingError)
    forgive.touch()
    assert insert(container, "Here Ada met Bob.")["status"] == "processed"


TERM = 1.0
TEXT = "\n\n".join(f"Here Person{n} met Other{n}. " + "and so on " * 1500 for n in range(6))


async def died(*_: Any) -> None:
    """A process that dies gives nothing back; tests/faults kill real ones."""


def interrupt(container: Container, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("wiring.lightrag.leases.store.LeaseStore.give_back", died)
        for _ in range(times):
            with pytest.raises(TimeoutError):
                container.worker_loop().run(elsewhere(container).insert(TEXT, document_id="a"), TERM + 2.0)


def status_of(container: Container) -> dict[str, str]:
    file = container.settings().lightrag.working_dir / container.settings().lightrag.workspace
    rows = json.loads((file / "kv_store_doc_status.json").read_text())
    return {key: row["status"] for key, row in rows.items()}


def elsewhere(container: Container) -> Documents:
    """Documents as another process has them: what waits for one of them is not known here."""
    settings = container.settings().lightrag
    return Documents(settings, Workspaces(settings, container.worker_loop(), container.leases()), container.metrics())


@pytest.mark.parametrize("container", ["slow"], indirect=True)
def test_a_document_that_was_interrupted_twice_is_processed_only_where_it_is_waited_for(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = elsewhere(container)
    interrupt(container, monkeypatch, times=2)
    container.worker_loop().run(others.insert("Here Ada met Bob.", document_id="b"), 60)
    assert status_of(container) == {"a": "pending", "b": "processed"}
    assert insert(container, TEXT, 60)["status"] == "processed"


@pytest.mark.parametrize("container", ["slow"], indirect=True)
def test_a_document_that_was_interrupted_once_or_on_purpose_is_processed_with_the_others(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = elsewhere(container)
    interrupt(container, monkeypatch, times=1)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            insert(container, TEXT, seconds=TERM + 0.5)
    container.worker_loop().run(others.insert("Here Ada met Bob.", document_id="b"), 60)
    assert status_of(container)["a"] != "pending"
    assert insert(container, TEXT, 60)["status"] in ("processed", "unchanged")


@pytest.mark.parametrize("container", ["slow"], indirect=True)
def test_a_document_that_was_interrupted_twice_has_its_turn_in_a_stream_of_others(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wiring.lightrag.workspaces.DOCUMENTS_AT_ONCE", 4)
    others, done = elsewhere(container), asyncio.Event()
    interrupt(container, monkeypatch, times=2)

    async def stream(name: str) -> None:
        number = 0
        while not done.is_set():
            number += 1
            await others.insert(f"Here {name}{number} met Bob.", document_id=f"{name}{number}")

    async def run() -> Inserted:
        streams = [asyncio.create_task(stream(name)) for name in ("Ada", "Eve", "Dan")]
        await asyncio.sleep(1.0)  # they have begun
        try:
            return await container.documents().insert(TEXT, document_id="a")
        finally:
            done.set()
            await asyncio.gather(*streams)

    assert container.worker_loop().run(run(), 60)["status"] == "processed"


@pytest.mark.parametrize("container", ["slow"], indirect=True)
@pytest.mark.parametrize("later", ["full_entities", "full_relations", "text_chunks"])
def test_a_document_that_was_interrupted_in_the_graph_and_again_before_it_is_processed(
    container: Container, monkeypatch: pytest.MonkeyPatch, later: str
) -> None:
    """First when it has begun to write to the graph, then before it has noted what it is going to write there."""
    rag: Any = container.worker_loop().run(container.rag().get(), 60)

    def interrupt_at(storage: str, write: str = "upsert") -> None:
        reached = threading.Event()

        async def hang(*_: Any, **__: Any) -> None:
            reached.set()
            await asyncio.sleep(60)

        with monkeypatch.context() as patch:
            patch.setattr(getattr(rag, storage), write, hang)
            with pytest.raises(TimeoutError):
                insert(container, "Here Ada met Bob.", seconds=4)
        assert reached.is_set()

    interrupt_at("chunk_entity_relation_graph", "upsert_node")
    interrupt_at(later)
    assert insert(container, "Here Ada met Bob.", 60)["status"] == "processed"


@pytest.mark.parametrize("container", ["slow"], indirect=True)
def test_what_is_told_to_be_processed_is_so_on_disk(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json, set_flags = json_doc_status_impl.write_json, json_doc_status_impl.set_all_update_flags

    async def set_flags_slowly(*args: Any, **kwargs: Any) -> None:
        await set_flags(*args, **kwargs)
        await asyncio.sleep(0.2)  # who waits for the document waits for the lock then, and is the next to have it

    def write_slowly(rows: Any, file: str) -> Any:
        time.sleep(0.2)
        return write_json(rows, file)

    monkeypatch.setattr(json_doc_status_impl, "set_all_update_flags", set_flags_slowly)
    monkeypatch.setattr(json_doc_status_impl, "write_json", write_slowly)
    assert insert(container, "Here Ada met Bob.", 60)["status"] == "processed"
    assert status_of(container) == {"a": "processed"}


@pytest.mark.parametrize("container", ["slow"], indirect=True)
@pytest.mark.parametrize("lost", ["get_full_docs_by_ids", "get_by_id"])
def test_a_cancellation_that_a_storage_loses_ends_what_was_cancelled(container: Container, lost: str) -> None:
    """As the client of Redis does on Python 3.11: that of LightRAG's feeder at the end of a run, and of a task."""
    rag: Any = container.worker_loop().run(container.rag().get(), 60)
    method = getattr(rag.doc_status, lost)
    has_lost, at_work = asyncio.Event(), asyncio.Event()

    async def lose_one(keys: Any, **options: Any) -> Any:
        if not has_lost.is_set() and "b" in keys:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                has_lost.set()
        return await method(keys, **options)

    async def report(progress: Progress) -> None:
        if progress["stage"] == "processing":
            at_work.set()

    async def is_held() -> bool:
        return any(each.workspace == rag.workspace and each.is_held for each in await container.leases().list())

    async def run() -> None:
        documents = container.documents()
        first = asyncio.create_task(documents.insert(TEXT, document_id="a", report=report))
        await at_work.wait()
        setattr(rag.doc_status, lost, lose_one)
        second = asyncio.create_task(documents.insert("Here Ada met Bob.", document_id="b"))
        if lost == "get_by_id":
            await asyncio.sleep(1.0)
            second.cancel()
            await asyncio.wait([second], timeout=5)
            assert second.cancelled()
        else:
            assert (await second)["status"] == "processed"
        await first
        assert has_lost.is_set()
        while await is_held():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.1)

    container.worker_loop().run(run(), 60)


@pytest.mark.parametrize("container", ["slow"], indirect=True)
def test_one_line_tells_what_became_of_a_document(container: Container, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "wiring.lightrag")
    with pytest.raises(TimeoutError):
        insert(container, TEXT, seconds=1.5)
    insert(container, TEXT)
    cut, line = [record.getMessage() for record in caplog.records if "document 'a'" in record.getMessage()]
    assert ": not processed: CancelledError, cut in insert > until_final > " in cut
    assert line.startswith("document 'a', workspace 'test_")
    assert ": processed, " in line
    assert line.endswith(" connections in use")


@pytest.mark.parametrize("container", ["slow"], indirect=True)
def test_progress_is_told(container: Container) -> None:
    reports: list[Progress] = []

    async def report(progress: Progress) -> None:
        reports.append(progress)
        await asyncio.sleep(0)

    documents = container.documents()
    result = container.worker_loop().run(documents.insert(TEXT, document_id="a", report=report), 60)
    assert result["status"] == "processed"
    stages = [each["stage"] for each in reports]
    assert stages[0] == "pending"
    assert "processing" in stages
    read = [(each["done"], each["total"]) for each in reports if each["total"]]
    assert read == sorted(read)
    assert read[-1][1] == result["chunks"] >= 3
