"""LightRAG, with a say in how a document's failure is told, and in what becomes of documents that are interrupted.

LightRAG keeps of a failure its text only, and whoever waits for the document may be in another process. So what passes
by itself is told by the name of its kind in front of that text, see ``failure``.

A document that was being worked on when its process died is taken up again at once, by LightRAG, together with all
others. If it is what killed the process, it kills the next one, and so on, and each time a task loses its process that
may have nothing to do with it. So from the second time on it is processed alone, in the process that waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from lightrag import LightRAG
from lightrag.base import DocStatus
from lightrag.constants import (
    KG_PURGE_METADATA_KEY,
    KG_WRITE_STATE_GRAPH_MUTATION_STARTED,
    KG_WRITE_STATE_METADATA_KEY,
    KG_WRITE_STATE_PRE_GRAPH,
)
from lightrag.exceptions import IndexFlushError
from lightrag.kg.shared_storage import get_namespace_data, get_pipeline_ingress
from lightrag.utils_pipeline import resolve_doc_file_path

from app_container.errors import describe
from app_container.transient import passing_cause
from wiring.lightrag.acceptance import accepted_at
from wiring.lightrag.cancelling import ending_for_certain
from wiring.lightrag.errors import DocumentFailedError, DocumentPostponedError
from wiring.lightrag.interruptions import count_interruptions, suspects
from wiring.lightrag.leases.guarded_storages import guard_storages
from wiring.lightrag.leases.lease import Lease, held_lease
from wiring.lightrag.leases.store import LeaseStore
from wiring.lightrag.log_context import about
from wiring.opentelemetry.telemetry import OFF, Telemetry

_log = logging.getLogger("wiring.lightrag")

_PASSING = "PassingError: "
_ABORTED = "Cancelled by internal error"  # what LightRAG says of the others when a storage failed for one document

_UNFINISHED = (DocStatus.PARSING, DocStatus.ANALYZING, DocStatus.PROCESSING)


class Pipeline(LightRAG):  # type: ignore[misc]  # LightRAG has no type information
    """LightRAG, with some methods that it calls in the process that works on the documents.

    LightRAG marks its class as final, but there is no other place to have this say. The methods are internal to it,
    and its version is pinned; ``tests/integration/test_failed_documents.py`` sees to it that they are still called.
    """

    waiting: Collection[str] = ()
    """The documents for which somebody waits in this process."""

    leases: LeaseStore
    """Where the lease is that runs work under; set when it is built."""

    telemetry: Telemetry = OFF
    """Is told which document is processed."""

    async def initialize_storages(self) -> None:
        """Open the storages; see LightRAG."""
        await super().initialize_storages()
        guard_storages(self)

    async def is_at_work(self) -> bool:
        """Whether a process of this worker works on the workspace; it takes up what is accepted meanwhile."""
        return bool((await get_namespace_data("pipeline_status", workspace=self.workspace)).get("busy"))

    async def look_again(self) -> None:
        """Let the run, once it is done with what it has, look for documents that were accepted elsewhere."""
        (await get_pipeline_ingress(self.workspace)).request_auto_rescan()

    def _feeder_should_yield(self, ctx: Any, ingress: Any, *, check_auto: bool) -> bool:
        """Called again and again by the task that adds documents of this worker to those at work; True ends it.

        Documents that were accepted elsewhere are only looked for when all that are at work are done. So no more are
        added when somebody asked for that: a stream of this worker's own would keep them waiting.
        """
        if super()._feeder_should_yield(ctx, ingress, check_auto=check_auto):
            return True
        return check_auto and bool(ingress.counts().get("auto_rescan_pending"))

    async def process_single_document(self, *, doc_id: str, status_doc: Any, **rest: Any) -> None:
        """Process one of the documents of a run; see LightRAG."""
        accepted = accepted_at(status_doc.track_id)
        with about(self.workspace, doc_id), self.telemetry.work("process_document", self.workspace, doc_id, accepted):
            await super().process_single_document(doc_id=doc_id, status_doc=status_doc, **rest)

    # LightRAG cancels these tasks once at the end of a run, and waits for them without a bound. One that did not end
    # would keep the run going, and the lease with it.

    async def _pipeline_feeder(self, *args: Any) -> None:
        await ending_for_certain(super()._pipeline_feeder(*args))

    async def _parse_worker(self, *args: Any) -> None:
        await ending_for_certain(super()._parse_worker(*args))

    async def _analyze_worker(self, *args: Any) -> None:
        await ending_for_certain(super()._analyze_worker(*args))

    async def _process_worker(self, *args: Any) -> None:
        await ending_for_certain(super()._process_worker(*args))

    async def _validate_and_fix_document_consistency(
        self, to_process_docs: dict[str, Any], pipeline_status: Any, pipeline_status_lock: Any
    ) -> dict[str, Any]:
        """Called when a run begins: what is unfinished then was interrupted, for one run works at a time."""
        lease = held_lease()
        unfinished = [key for key, row in to_process_docs.items() if row.status in _UNFINISHED]
        if lease is not None:
            await self._keep_interruptions(lease, unfinished)
        rows: dict[str, Any] = await super()._validate_and_fix_document_consistency(
            to_process_docs, pipeline_status, pipeline_status_lock
        )
        chosen = list(rows) if lease is None else self._choose(list(rows), lease)
        for key in chosen:
            if rows[key].chunks_list:
                await self._take_back(key, rows[key], pipeline_status, pipeline_status_lock)
        return {key: rows[key] for key in chosen}

    async def _keep_interruptions(self, lease: Lease, unfinished: list[str]) -> None:
        forgotten = [key for key in lease.interrupted if await self._is_done(key)]
        for key in forgotten:
            del lease.interrupted[key]
        if count_interruptions(lease, unfinished) or forgotten:
            await self.leases.renew(lease)

    async def _is_done(self, key: str) -> bool:
        row = await self.doc_status.get_by_id(key)
        return row is None or row["status"] == DocStatus.PROCESSED

    def _choose(self, documents: list[str], lease: Lease) -> list[str]:
        """Those of ``documents`` that are processed now: a suspect alone, and only where somebody waits for it."""
        if lease.others_need_it:
            return []  # the run ends
        suspected = suspects(lease.interrupted)
        here = [key for key in documents if key in suspected and key in self.waiting]
        return here[:1] or [key for key in documents if key not in suspected]

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

    async def _purge_stale_extraction_if_resuming(self, *, doc_id: str, status_doc: Any, **rest: Any) -> None:
        """Called before a document is processed; takes out of the graph what an earlier try of it brought.

        Nothing of it is there then, but LightRAG goes on noting that there may be. When the document is interrupted
        again, before it has noted what it will bring this time, LightRAG would refuse it for ever; and a note of how
        far the taking out was, from one that was interrupted itself, would be believed of the next.
        """
        await super()._purge_stale_extraction_if_resuming(doc_id=doc_id, status_doc=status_doc, **rest)
        notes = status_doc.metadata or {}
        is_noted = notes.get(KG_WRITE_STATE_METADATA_KEY) == KG_WRITE_STATE_GRAPH_MUTATION_STARTED
        if not status_doc.chunks_list and (is_noted or KG_PURGE_METADATA_KEY in notes):
            notes = {**notes, KG_WRITE_STATE_METADATA_KEY: KG_WRITE_STATE_PRE_GRAPH}
            notes.pop(KG_PURGE_METADATA_KEY, None)
            status_doc.metadata = notes
            await self.doc_status.update_doc_status_fields(doc_id, {"metadata": notes})
            await self.doc_status.index_done_callback()  # a file-based storage writes only now

    async def _finalize_doc_failure(self, *, error: BaseException, **rest: Any) -> None:
        if (lease := held_lease()) and lease.is_over:
            return  # another process has the document by now
        self.telemetry.work_failed(error)
        cause = passing_cause(error) or (error if isinstance(error, IndexFlushError) else None)
        if cause is not None:
            error = _ToldAsPassing(f"{_PASSING}{describe(cause)}")
        await super()._finalize_doc_failure(error=error, **rest)


class _ToldAsPassing(Exception):  # noqa: N818 - LightRAG stores its text; it is never raised
    pass


def failure(key: str, stored: Any) -> DocumentFailedError:
    """The error for document ``key``, out of the text that LightRAG stored about its failure.

    Returns:
        ``DocumentPostponedError`` when inserting it again may help, without a change; else ``DocumentFailedError``.
    """
    reason = " ".join(str(stored or "no reason given").split())
    if reason.startswith((_PASSING, _ABORTED)):
        return DocumentPostponedError(f"document {key!r} could not be processed now: {reason.removeprefix(_PASSING)}")
    return DocumentFailedError(f"document {key!r} failed in LightRAG: {reason}")
