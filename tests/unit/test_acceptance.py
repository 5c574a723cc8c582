"""What is made of a document that other processes work on at the same time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lightrag.base import DocStatus
from lightrag.exceptions import PipelineReservationConflictError
from lightrag.utils_pipeline import compute_text_content_hash

from wiring.lightrag.acceptance import store_document
from wiring.lightrag.errors import DocumentConflictError


class FakeRag:
    """A LightRAG in which another process is done with a document as soon as it is stored."""

    def __init__(self, outcome: DocStatus) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.doc_status = self
        self._outcome = outcome

    async def get_by_id(self, key: str) -> dict[str, Any] | None:
        row = self.rows.get(key)
        await asyncio.sleep(0)  # a chance for the others
        return row

    async def upsert(self, rows: dict[str, dict[str, Any]]) -> None:
        self.rows |= rows

    async def aget_docs_by_track_id(self, _: str) -> dict[str, Any]:
        return {}

    async def apipeline_enqueue_documents(self, texts: list[str], *, ids: list[str], **_: Any) -> None:
        if ids[0] in self.rows:
            return
        self.rows[ids[0]] = {"status": self._outcome, "content_hash": compute_text_content_hash(texts[0])}


@pytest.mark.parametrize("outcome", [DocStatus.PROCESSED, DocStatus.FAILED])
def test_a_document_that_is_final_at_once_is_not_taken_for_one_that_was_there(outcome: DocStatus) -> None:
    rag: Any = FakeRag(outcome)
    assert asyncio.run(store_document(rag, "a", "text", None)) == ("processed", None)
    assert rag.rows["a"]["status"] == outcome


def test_of_two_texts_under_one_id_at_the_same_time_one_is_refused() -> None:
    rag: Any = FakeRag(DocStatus.PROCESSED)

    async def both() -> list[Any]:
        texts = ("one", "two")
        return await asyncio.gather(*(store_document(rag, "a", t, None) for t in texts), return_exceptions=True)

    first, second = asyncio.run(both())
    assert first == ("processed", None)
    assert isinstance(second, DocumentConflictError)


def test_a_document_that_was_there_is_unchanged_and_one_that_failed_is_taken_up_again() -> None:
    rag: Any = FakeRag(DocStatus.PROCESSED)
    asyncio.run(store_document(rag, "a", "text", None))
    assert asyncio.run(store_document(rag, "a", "text", None)) == ("unchanged", None)
    rag.rows["a"]["status"] = DocStatus.FAILED
    assert asyncio.run(store_document(rag, "a", "text", None)) == ("processed", None)
    assert rag.rows["a"]["status"] == DocStatus.PENDING


def test_a_cancellation_that_is_lost_while_a_document_is_deleted_ends_the_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def is_open(_: Any) -> None:
        pass

    class Deleting(FakeRag):
        has_lost = False

        async def apipeline_enqueue_documents(self, *_: Any, **__: Any) -> None:
            try:
                await asyncio.sleep(0.2)
            except asyncio.CancelledError:
                if self.has_lost:
                    raise
                self.has_lost = True
            raise PipelineReservationConflictError("deleting")

    async def run() -> None:
        rag: Any = Deleting(DocStatus.PENDING)
        task = asyncio.create_task(store_document(rag, "a", "text", None))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()

    monkeypatch.setattr("wiring.lightrag.acceptance.check_open", is_open)
    asyncio.run(run())
