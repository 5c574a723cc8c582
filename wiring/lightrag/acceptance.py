"""How a document is accepted: it is durable in the document status before anybody works on it."""

from __future__ import annotations

import shlex
import uuid
from typing import TYPE_CHECKING, Literal

from wiring.lightrag.cancelling import pause
from wiring.lightrag.errors import DocumentConflictError, DocumentFailedError
from wiring.lightrag.fence import check_open

if TYPE_CHECKING:
    from lightrag import LightRAG

POLL_INTERVAL = 0.1
"""Seconds between two attempts while a document is being deleted."""


_TRACK = "insert-"


async def store_document(
    rag: LightRAG, key: str, text: str, source: str | None, place: str | None = None
) -> tuple[Literal["processed", "unchanged", "duplicate"], str | None]:
    """Make the document durable in the document status, unless it is. Returns what it is, and of what a duplicate.

    Args:
        rag: the workspace's LightRAG.
        key: the document.
        text: what it says.
        source: where it came from.
        place: what tells who works on it where it was accepted, as ``Telemetry.place`` does; it is stored with it.
    """
    from lightrag.base import DocStatus
    from lightrag.exceptions import PipelineReservationConflictError
    from lightrag.utils import sanitize_text_for_encoding
    from lightrag.utils_pipeline import compute_text_content_hash, doc_status_reset_metadata

    digest = compute_text_content_hash(sanitize_text_for_encoding(text))
    row = await rag.doc_status.get_by_id(key)
    is_new = row is None
    if row is None:
        track_id = f"{_TRACK}{place or uuid.uuid4().hex}"
        while True:
            try:
                await rag.apipeline_enqueue_documents([text], ids=[key], file_paths=[source or ""], track_id=track_id)
                break
            except PipelineReservationConflictError:  # a document is being deleted
                await check_open(rag)
                await pause(POLL_INTERVAL)
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
        again = {"status": DocStatus.PENDING, "error_msg": "", "metadata": doc_status_reset_metadata(row)}
        await rag.doc_status.upsert({key: {**row, **again, **_at(place)}})
    return "processed", None


def _at(place: str | None) -> dict[str, str]:
    return {} if place is None else {"track_id": f"{_TRACK}{place}"}


def accepted_at(track_id: str | None) -> str | None:
    """What ``store_document`` was told of the place, if it was told something, out of what LightRAG keeps."""
    return track_id.removeprefix(_TRACK) if track_id else None


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
