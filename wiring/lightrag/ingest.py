"""How one document gets through LightRAG's pipeline: stored first, then processed by whichever process has its turn."""

from __future__ import annotations

import asyncio
import contextvars
import shlex
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from wiring.lightrag.errors import DocumentConflictError, DocumentFailedError, DocumentNotFoundError
from wiring.lightrag.fence import check_open

if TYPE_CHECKING:
    from lightrag import LightRAG

    from wiring.lightrag.pipeline import Pipeline

POLL_INTERVAL = 0.1
"""Seconds between two looks at a document that another process is working on."""

PROGRESS_INTERVAL = 1.0
"""Seconds between two reports of a document's progress."""

TAKE_OVER_INTERVAL = 2.0
"""Seconds between two attempts to take up the work, in case the process that had it died."""


class Progress(TypedDict):
    """How far a document is: LightRAG's status, and how many of its chunks a model has read."""

    stage: str
    done: int
    total: int


Report = Callable[[Progress], Awaitable[None]]


async def store_document(
    rag: LightRAG, key: str, text: str, source: str | None
) -> tuple[Literal["processed", "unchanged", "duplicate"], str | None]:
    """Make the document durable in the document status, unless it is. Returns what it is, and of what a duplicate."""
    from lightrag.base import DocStatus
    from lightrag.exceptions import PipelineReservationConflictError
    from lightrag.utils import sanitize_text_for_encoding
    from lightrag.utils_pipeline import compute_text_content_hash, doc_status_reset_metadata

    digest = compute_text_content_hash(sanitize_text_for_encoding(text))
    row = await rag.doc_status.get_by_id(key)
    is_new = row is None
    if row is None:
        track_id = f"insert-{uuid.uuid4().hex}"
        while True:
            try:
                await rag.apipeline_enqueue_documents([text], ids=[key], file_paths=[source or ""], track_id=track_id)
                break
            except PipelineReservationConflictError:  # a document is being deleted
                await check_open(rag)
                await asyncio.sleep(POLL_INTERVAL)
        row = await rag.doc_status.get_by_id(key)
        found = await _take_refusal(rag, track_id)
        if row is None and found is not None:
            return await _judge_refusal(rag, key, source, digest, found)
        if row is None:
            raise DocumentFailedError(f"document {key!r} was not accepted by LightRAG, which gave no reason")
    if row.get("content_hash") != digest:
        raise DocumentConflictError(
            f"document {key!r} is there with another text; to replace it, delete it first "
            f"(lightrag-neo4j delete {shlex.quote(key)}), else give this one another id"
        )
    if is_new:
        return "processed", None  # or soon; another process may be done with it by now, one way or the other
    if row["status"] == DocStatus.PROCESSED:
        return "unchanged", None
    if row["status"] == DocStatus.FAILED:
        metadata = doc_status_reset_metadata(row)
        await rag.doc_status.upsert({key: {**row, "status": DocStatus.PENDING, "error_msg": "", "metadata": metadata}})
    return "processed", None


async def set_aside(rag: LightRAG, key: str, reason: str) -> None:
    """Mark a stored document as failed, so that LightRAG leaves it alone; not one that is processed."""
    from lightrag.base import DocStatus

    row = await rag.doc_status.get_by_id(key)
    if row is not None and row["status"] != DocStatus.PROCESSED:
        await rag.doc_status.upsert({key: {**row, "status": DocStatus.FAILED, "error_msg": reason}})


async def _take_refusal(rag: LightRAG, track_id: str) -> str | None:
    """The document LightRAG takes this one for, if it refused it. Its record of that is removed: the reader is here."""
    for record_id, record in (await rag.aget_docs_by_track_id(track_id)).items():
        if record.metadata.get("is_duplicate"):
            await rag.doc_status.delete([record_id])
            await rag.doc_status.index_done_callback()  # a file-based storage writes only now
            return str(record.metadata["original_doc_id"])
    return None


async def _judge_refusal(
    rag: LightRAG, key: str, source: str | None, digest: str, found: str
) -> tuple[Literal["duplicate"], str]:
    original = await rag.doc_status.get_by_id(found)
    if original is not None and original.get("content_hash") == digest:
        return "duplicate", found
    raise DocumentConflictError(
        f"document {key!r} was refused, for its path {source!r} belongs to document {found!r}; to replace that, delete "
        f"it first (lightrag-neo4j delete {shlex.quote(found)}), else insert this one under another path"
    )


class Ingest:
    """The run of LightRAG's pipeline in this process, for one workspace.

    LightRAG lets one process at a time work on a workspace, and that one takes up whatever was stored meanwhile. So
    the run belongs to no single caller: each waits for its own document, whoever processes it, and starts a run when
    there is none.

    Args:
        rag: the workspace's LightRAG.
    """

    def __init__(self, rag: Pipeline) -> None:
        self._rag = rag
        self._run: asyncio.Task[None] | None = None
        self._run_again = 0.0
        self._waiting: list[str] = []
        rag.waiting = self._waiting

    async def until_final(self, key: str, report: Report | None = None) -> dict[str, Any]:
        """Wait until the document is processed, and return its row of the document status.

        Args:
            key: the document.
            report: told of its progress every ``PROGRESS_INTERVAL`` seconds.
        """
        from lightrag.base import DocStatus

        from wiring.lightrag.interruptions import forget_interruptions
        from wiring.lightrag.pipeline import failure

        self._waiting.append(key)
        report_again = time.monotonic()
        try:
            while True:
                row: dict[str, Any] | None = await self._rag.doc_status.get_by_id(key)
                if row is None:
                    raise DocumentNotFoundError(f"document {key!r} was deleted while it was inserted")
                if row["status"] == DocStatus.PROCESSED:
                    await forget_interruptions(self._rag.workspace, key)
                    return row
                if row["status"] == DocStatus.FAILED:
                    raise failure(key, row.get("error_msg"))
                if report is not None and time.monotonic() >= report_again:
                    await report(await self._progress(row))
                    report_again = time.monotonic() + PROGRESS_INTERVAL
                await self._work_or_wait()
        except asyncio.CancelledError:
            if len(self._waiting) == 1:
                await self.stop()
            raise
        finally:
            self._waiting.remove(key)

    async def _work_or_wait(self) -> None:
        """See that some process is at work, and wait for a moment."""
        from wiring.lightrag.interruptions import ask_for_turn

        if (self._run is None or self._run.done()) and time.monotonic() >= self._run_again:
            self._run_again = time.monotonic() + TAKE_OVER_INTERVAL
            await ask_for_turn(self._rag.workspace, self._waiting)
            # In a context of its own, for it serves more than the task that happens to start it.
            self._run = asyncio.create_task(
                self._rag.apipeline_process_enqueue_documents(), context=contextvars.Context()
            )
        if self._run is None or self._run.done():
            await check_open(self._rag)
            await asyncio.sleep(POLL_INTERVAL)
        else:
            await asyncio.wait([self._run], timeout=POLL_INTERVAL)
            if self._run.done() and not self._run.cancelled():  # cancelled by stop(), for somebody who left
                self._run.result()  # raises what ended the run

    async def _progress(self, row: dict[str, Any]) -> Progress:
        chunks: list[str] = row.get("chunks_list") or []
        stored = await self._rag.text_chunks.get_by_ids(chunks) if chunks else []
        read = sum(bool(chunk and chunk.get("llm_cache_list")) for chunk in stored)
        return Progress(stage=str(getattr(row["status"], "value", row["status"])), done=read, total=len(chunks))

    async def stop(self) -> None:
        """Nobody here waits any more: end the run, and leave the rest to those who wait, in whichever process."""
        from wiring.lightrag.interruptions import note_orderly_end

        if self._run is not None and not self._run.done():
            await note_orderly_end(self._rag.workspace)
            self._run.cancel()
            with suppress(asyncio.CancelledError):
                await self._run
