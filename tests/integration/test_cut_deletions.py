"""What LightRAG refuses after a process died while it deleted a document, and until when.

LightRAG notes that in the state which a worker's processes share. Here the note is written by the test, as LightRAG
writes it; ``test_worker_ends`` kills a process.
"""

from __future__ import annotations

import pytest

from app_container import Container
from wiring.lightrag.errors import WorkspaceBlockedError


def note_that_a_deletion_was_cut(container: Container, document_id: str) -> None:
    from lightrag.kg.shared_storage import get_namespace_data

    async def note() -> None:
        rag = await container.rag().get()
        status = await get_namespace_data("pipeline_status", workspace=rag.workspace)
        record = {"doc_id": document_id}
        status["recovery_required"] = {"kind": "delete", "owner_key": "busy_owner", "operation_record": record}

    container.worker_loop().run(note(), 60)


def test_the_workspace_is_blocked_until_the_document_is_deleted_again(container: Container) -> None:
    run, documents = container.worker_loop().run, container.documents()
    run(documents.insert("Here Ada met Bob.", document_id="old"), 60)
    note_that_a_deletion_was_cut(container, "old")
    with pytest.raises(WorkspaceBlockedError, match=r"while it deleted document 'old'; .*lightrag-neo4j delete old"):
        run(documents.insert("Here Eve met Dan.", document_id="new"), 60)
    assert run(documents.delete("old"), 60)["status"] == "deleted"
    assert run(documents.insert("Here Eve met Dan.", document_id="new"), 60)["status"] == "processed"


def test_the_workspace_is_open_when_another_worker_has_completed_the_deletion(container: Container) -> None:
    run, documents = container.worker_loop().run, container.documents()
    note_that_a_deletion_was_cut(container, "old")
    assert run(documents.insert("Here Eve met Dan.", document_id="new"), 60)["status"] == "processed"
