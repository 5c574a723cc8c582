"""What becomes of documents that fail: which are worth another try, and what is told about the others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from app_container import Container, create_container
from app_container.errors import PassingError, ProcessDiedError
from tests.support.containers import forget_shared_state
from tests.support.models import config_with_model
from wiring.lightrag.documents import Documents, Inserted
from wiring.lightrag.errors import DocumentInterruptedError, DocumentPostponedError
from wiring.lightrag.ingest import Progress


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


async def died(_: str) -> None:
    """A process that dies cannot say anything; tests/faults kill real ones."""


@pytest.mark.parametrize("container", ["slow"], indirect=True)
def test_a_document_that_is_interrupted_again_and_again_is_set_aside(
    container: Container, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "wiring.lightrag")
    text = "\n\n".join(f"Here Person{n} met Other{n}. " + "and so on " * 1500 for n in range(6))
    for _ in range(3):  # one that is ended on purpose counts for nothing
        with pytest.raises(TimeoutError):
            insert(container, text, seconds=2.5)
    monkeypatch.setattr("wiring.lightrag.interruptions.note_orderly_end", died)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            insert(container, text, seconds=1.5)
    with pytest.raises(DocumentInterruptedError) as caught:
        insert(container, text)
    assert isinstance(caught.value, ProcessDiedError)
    assert str(caught.value) == "document 'a' was set aside: it was interrupted 2 times while it was processed"

    # It can be inserted again, and one line tells each time what became of it.
    assert insert(container, text)["status"] == "processed"
    lines = [record.getMessage() for record in caplog.records if "document 'a'" in record.getMessage()]
    assert len(lines) == 7
    assert lines[-1].startswith("document 'a', workspace 'test_")
    assert ": processed, " in lines[-1]
    assert lines[-1].endswith(" connections in use")


@pytest.mark.parametrize("container", ["slow"], indirect=True)
def test_progress_is_told(container: Container) -> None:
    text = "\n\n".join(f"Here Person{n} met Other{n}. " + "and so on " * 1500 for n in range(6))
    reports: list[Progress] = []

    async def report(progress: Progress) -> None:
        reports.append(progress)
        await asyncio.sleep(0)

    documents = container.documents()
    result = container.worker_loop().run(documents.insert(text, document_id="a", report=report), 60)
    assert result["status"] == "processed"
    stages = [each["stage"] for each in reports]
    assert stages[0] == "pending"
    assert "processing" in stages
    read = [(each["done"], each["total"]) for each in reports if each["total"]]
    assert read == sorted(read)
    assert read[-1][1] == result["chunks"] >= 3
