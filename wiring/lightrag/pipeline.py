"""LightRAG, with a say in two things: how a document's failure is told, and what becomes of one that kills processes.

LightRAG keeps of a failure its text only, and whoever waits for the document may be in another process. So what passes
by itself is told by the name of its kind in front of that text, see ``failure``.

A document that was being worked on when its process died is taken up again at once, by LightRAG, together with all
others. If it is what killed the process, it kills the next one, and so on. So from the second time on it is set aside
as failed, and the task that waits for it tries again after a pause; then it has a run for itself alone.
"""

from __future__ import annotations

import logging
from typing import Any

from lightrag import LightRAG
from lightrag.base import DocStatus
from lightrag.exceptions import IndexFlushError
from lightrag.utils_pipeline import resolve_doc_file_path

from app_container.errors import ProcessDiedError, describe
from app_container.transient import passing_cause
from wiring.lightrag.errors import DocumentFailedError, DocumentInterruptedError, DocumentPostponedError
from wiring.lightrag.interruptions import count_interruptions

_log = logging.getLogger("wiring.lightrag")

SET_ASIDE_AFTER = 2
"""How often a document is interrupted before it is set aside; a single interruption is more often bad luck."""

_DIED = f"{ProcessDiedError.__name__}: "
_PASSING = "PassingError: "
_ABORTED = "Cancelled by internal error"  # what LightRAG says of the others when a storage failed for one document

_UNFINISHED = (DocStatus.PARSING, DocStatus.ANALYZING, DocStatus.PROCESSING)


class Pipeline(LightRAG):  # type: ignore[misc]  # LightRAG has no type information
    """LightRAG, with two methods that it calls in the process that works on the documents.

    LightRAG marks its class as final, but there is no other place to have this say. Both methods are internal to it,
    and its version is pinned; ``tests/integration/test_failed_documents.py`` sees to it that they are still called.
    """

    async def _validate_and_fix_document_consistency(
        self, to_process_docs: dict[str, Any], pipeline_status: Any, pipeline_status_lock: Any
    ) -> dict[str, Any]:
        """Called when a run begins: what is unfinished then was interrupted, for one run works at a time."""
        unfinished = {key: row for key, row in to_process_docs.items() if row.status in _UNFINISHED}
        times = await count_interruptions(self.workspace, unfinished)
        for key, row in unfinished.items():
            if times.get(key, 0) >= SET_ASIDE_AFTER:
                del to_process_docs[key]
                await self._set_aside(key, row, times[key])
        remaining: dict[str, Any] = await super()._validate_and_fix_document_consistency(
            to_process_docs, pipeline_status, pipeline_status_lock
        )
        if suspect := next((key for key in remaining if times.get(key, 0) >= SET_ASIDE_AFTER), None):
            remaining = {suspect: remaining[suspect]}  # alone; the others have the next run
        for key, row in remaining.items():
            if row.chunks_list:
                await self._take_back(key, row, pipeline_status, pipeline_status_lock)
        return remaining

    async def _take_back(self, key: str, row: Any, pipeline_status: Any, pipeline_status_lock: Any) -> None:
        """Take out of the graph what an earlier try of the document brought, while nothing else is written to it.

        LightRAG does so when the document's turn comes. It reads the sources of an entity, and writes what remains of
        them a while later; a source that another document adds in between is lost.
        """
        try:
            await self._purge_stale_extraction_if_resuming(
                doc_id=key,
                status_doc=row,
                file_path=resolve_doc_file_path(status_doc=row),
                content_data=await self.full_docs.get_by_id(key),
                pipeline_status=pipeline_status,
                pipeline_status_lock=pipeline_status_lock,
            )
        except Exception as error:  # noqa: BLE001 - LightRAG tries once more, and lets only this document fail
            _log.warning("what document %r brought before is not taken back yet: %s", key, describe(error))

    async def _set_aside(self, key: str, row: Any, times: int) -> None:
        update, _, _ = self._build_pending_reset_update(row, None)
        reason = f"{_DIED}it was interrupted {times} times while it was processed"
        await self.doc_status.upsert({key: {**update, "status": DocStatus.FAILED, "error_msg": reason}})

    async def _finalize_doc_failure(self, *, error: BaseException, **rest: Any) -> None:
        cause = passing_cause(error) or (error if isinstance(error, IndexFlushError) else None)
        if cause is not None:
            error = _ToldAsPassing(f"{_PASSING}{describe(cause)}")
        await super()._finalize_doc_failure(error=error, **rest)


class _ToldAsPassing(Exception):  # noqa: N818 - LightRAG stores its text; it is never raised
    pass


def failure(key: str, stored: Any) -> DocumentFailedError:
    """The error for document ``key``, out of the text that LightRAG stored about its failure.

    Returns:
        ``DocumentInterruptedError`` or ``DocumentPostponedError`` when inserting it again may help, without a change;
        else ``DocumentFailedError``.
    """
    reason = " ".join(str(stored or "no reason given").split())
    if reason.startswith(_DIED):
        return DocumentInterruptedError(f"document {key!r} was set aside: {reason.removeprefix(_DIED)}")
    if reason.startswith((_PASSING, _ABORTED)):
        return DocumentPostponedError(f"document {key!r} could not be processed now: {reason.removeprefix(_PASSING)}")
    return DocumentFailedError(f"document {key!r} failed in LightRAG: {reason}")
