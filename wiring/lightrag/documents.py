"""What users do with documents: insert, query, delete. Celery tasks, Prefect tasks and the command line call this."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, get_args

from app_container.errors import AppContainerError, describe
from wiring.lightrag.acceptance import set_aside, store_document
from wiring.lightrag.cancelling import pause
from wiring.lightrag.document_checks import (
    check_document,
    check_document_id,
    check_question,
    make_document_id,
    source_name,
)
from wiring.lightrag.errors import (
    DocumentFailedError,
    DocumentNotFoundError,
    EmptyWorkspaceError,
    InvalidDocumentError,
    QueryFailedError,
    outcome_of,
)
from wiring.lightrag.fence import check_open, open_for_deletion
from wiring.lightrag.gate import passing_errors
from wiring.lightrag.ingest import POLL_INTERVAL, Report
from wiring.lightrag.log_context import about
from wiring.lightrag.results import Answer, Deleted, Inserted, QueryMode
from wiring.lightrag.time_bound import time_bound, where_cut
from wiring.opentelemetry.telemetry import OFF, Telemetry, Work

if TYPE_CHECKING:
    from lightrag.base import DeletionResult

    from app_container.metrics import Metrics
    from app_container.settings import LightRAGSettings
    from wiring.lightrag.pipeline import Pipeline
    from wiring.lightrag.workspaces import Workspaces

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
Method = Callable[Concatenate["Documents", P], Coroutine[Any, Any, T]]


def _on_the_worker_loop(method: Method[P, T]) -> Method[P, T]:
    """Let it run there, where LightRAG is, and be awaited on any loop."""

    @functools.wraps(method)
    async def hop(self: Documents, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._workspaces.worker_loop.run_async(method(self, *args, **kwargs))

    return hop


class Documents:
    """Documents of the workspaces of one process. Its methods can be awaited on any event loop.

    They run on the worker loop, where LightRAG is, one for the process.

    Args:
        settings: bounds for one document, and the default workspace.
        workspaces: gives the LightRAG of a workspace.
        metrics: counts what becomes of documents.
        telemetry: tells what is done with them.
    """

    def __init__(
        self, settings: LightRAGSettings, workspaces: Workspaces, metrics: Metrics, telemetry: Telemetry = OFF
    ) -> None:
        self._settings = settings
        self._workspaces = workspaces
        self._metrics = metrics
        self._telemetry = telemetry

    @_on_the_worker_loop
    async def insert(
        self,
        text: str,
        *,
        document_id: str | None = None,
        file_path: str | None = None,
        workspace: str | None = None,
        report: Report | None = None,
    ) -> Inserted:
        """Put a document into the graph; returns when it is there.

        Doing it again with the same arguments changes nothing, and takes up a document that was interrupted or failed.

        Args:
            text: the document.
            document_id: what it is called from now on; None for an id made of ``file_path``, else of ``text``.
            file_path: where it came from; shown in citations, and must be another one for another document.
            workspace: where it belongs; None for the configured workspace.
            report: told of its progress now and then, until it is there; awaited on the worker loop.

        Raises:
            InvalidDocumentError: the document cannot be one; nothing was stored.
            DocumentConflictError: the id or the path belongs to another document; nothing was stored.
            DocumentFailedError: LightRAG could not process it; the message is LightRAG's reason. Where it may succeed
                when it is inserted again later, the error is also a ``PassingError``.
            WorkspaceBlockedError: a process died while it changed the workspace.
            WorkspaceUnavailableError: Neo4j is away; its error is the cause.
            DocumentTimeoutError: it is not final after ``document_timeout`` seconds; it stays stored, and inserting it
                again takes it up.
        """
        started = time.monotonic()
        name = self._workspaces.check_name(workspace)
        source = source_name(file_path)
        try:
            check_document(text, document_id, self._settings.max_document_bytes)
        except InvalidDocumentError as error:
            self._metrics.document_done(outcome_of(error), time.monotonic() - started)
            raise
        key = document_id or make_document_id(text, source)
        try:
            missed = f"document {key!r} is not processed"
            async with self._work("insert_document", name, key, missed, "insert it again to take it up"):
                rag = await self._workspaces.get(name)
                status, original = await store_document(rag, key, text, source, self._telemetry.place())
                row = await self._workspaces.ingest(rag).until_final(original or key, report)
        except BaseException as error:
            self._log(logging.WARNING, key, name, started, f"not processed: {describe(error)}{where_cut(error)}")
            self._metrics.document_done(outcome_of(error), time.monotonic() - started)
            raise
        self._log(logging.INFO, key, name, started, status)
        self._metrics.document_done(status, time.monotonic() - started)
        return Inserted(
            document_id=key,
            workspace=name,
            status=status,
            duplicate_of=original,
            chunks=len(row.get("chunks_list") or ()),
            seconds=round(time.monotonic() - started, 3),
        )

    @_on_the_worker_loop
    async def set_aside(
        self,
        text: str,
        *,
        error: AppContainerError,
        document_id: str | None = None,
        file_path: str | None = None,
        workspace: str | None = None,
    ) -> None:
        """Mark a document as failed, unless it is processed or was never stored; for one that nobody survives.

        Args:
            text: the document; this and the others as for ``insert``.
            error: why, as who looks at the documents will read it.
            document_id: what it is called.
            file_path: where it came from.
            workspace: where it belongs.

        Raises:
            DocumentTimeoutError: it is not done after ``document_timeout`` seconds.
        """
        key = document_id or make_document_id(text, source_name(file_path))
        name = self._workspaces.check_name(workspace)
        async with self._work("set_aside", name, key, f"document {key!r} is not set aside", "set it aside again"):
            rag = await self._workspaces.get(name)
            await set_aside(rag, key, str(error))

    def _log(self, level: int, key: str, workspace: str, started: float, what: str) -> None:
        """One line for each document, which says what it cost."""
        seconds, in_use = time.monotonic() - started, self._workspaces.connections_in_use()
        said = "document %r, workspace %r: %s, %.2f s, %d connections in use"
        with about(workspace, key):
            _log.log(level, said, key, workspace, what, seconds, in_use)

    @_on_the_worker_loop
    async def query(self, text: str, *, mode: QueryMode = "mix", workspace: str | None = None) -> Answer:
        """Answer a question from the graph.

        Args:
            text: the question.
            mode: how LightRAG searches: mix, hybrid, local, global, naive or bypass.
            workspace: where; None for the configured workspace.

        Raises:
            InvalidDocumentError: there is no question, or it is too short, or there is no such mode.
            EmptyWorkspaceError: no document has been inserted yet.
            QueryFailedError: LightRAG could not answer; the message is LightRAG's reason. If Neo4j was away, its error
                is the cause.
            DocumentTimeoutError: there is no answer after ``document_timeout`` seconds.
        """
        from lightrag import QueryParam
        from lightrag.query_validation import RAGQueryTooShortError

        name = self._workspaces.check_name(workspace)
        check_question(text)
        if mode not in get_args(QueryMode):
            raise InvalidDocumentError(f"mode {mode!r} is unknown; use one of {', '.join(get_args(QueryMode))}")
        async with self._work("query", name, None, "there is no answer", "ask again"):
            rag = await self._workspaces.get(name)
            try:
                with passing_errors() as errors:
                    result = await rag.aquery_llm(text, QueryParam(mode=mode, stream=False, enable_rerank=False))
            except RAGQueryTooShortError:
                raise InvalidDocumentError(f"the question {text!r} is too short; use 3 characters or more") from None
            if result.get("status") == "failure":
                if result.get("metadata", {}).get("failure_reason") != "no_results":
                    reason = str(result.get("message") or "LightRAG gave no reason")
                    raise QueryFailedError(reason) from _last(errors)
                counts = await rag.get_processing_status()
                if not counts.get("processed"):
                    raise EmptyWorkspaceError(f"workspace {name!r} holds no documents yet; insert some, then ask again")
        data = result.get("data") or {}
        return Answer(
            answer=result["llm_response"]["content"] or "",
            mode=mode,
            workspace=name,
            entities=len(data.get("entities") or ()),
            relationships=len(data.get("relationships") or ()),
            chunks=len(data.get("chunks") or ()),
            references=[str(reference.get("file_path")) for reference in data.get("references") or ()],
        )

    @_on_the_worker_loop
    async def delete(self, document_id: str, *, workspace: str | None = None, again: bool = False) -> Deleted:
        """Remove a document, with what only it contributed to the graph.

        Args:
            document_id: the document.
            workspace: where it is; None for the configured workspace.
            again: whether this was tried before and may have succeeded, so that a document that is not there is gone.

        Raises:
            InvalidDocumentError: the id is no name.
            DocumentNotFoundError: there is no such document.
            DocumentTimeoutError: it is not removed after ``document_timeout`` seconds.
            DocumentFailedError: LightRAG could not remove it; the message is LightRAG's reason. If Neo4j was away, its
                error is the cause.
            WorkspaceUnavailableError: it was away before anything was removed; likewise.
            WorkspaceBlockedError: a process died while it changed the workspace.
        """
        name = self._workspaces.check_name(workspace)
        check_document_id(document_id)
        missed = f"document {document_id!r} is not removed"
        async with self._work("delete_document", name, document_id, missed, "delete it again"):
            rag = await self._workspaces.get(name)
            with passing_errors() as errors:
                result, again = await self._workspaces.alone(rag, lambda: _delete(rag, document_id, again=again))
            if result.status == "not_found" and not again:
                raise DocumentNotFoundError(f"workspace {name!r} has no document {document_id!r}")
            if result.status not in ("success", "not_found"):
                reason = f"document {document_id!r} was not deleted: {result.message}"
                raise DocumentFailedError(reason) from _last(errors)
        return Deleted(document_id=document_id, workspace=name, status="deleted")

    @contextlib.asynccontextmanager
    async def _work(
        self, what: Work, workspace: str, document_id: str | None, missed: str, fix: str
    ) -> AsyncIterator[None]:
        """Let logs and traces tell what is done meanwhile, and bound how long it takes."""
        with about(workspace, document_id), self._telemetry.work(what, workspace, document_id):
            async with time_bound(self._settings.document_timeout, missed, fix):
                yield


async def _delete(rag: Pipeline, document_id: str, *, again: bool) -> tuple[DeletionResult, bool]:
    while True:
        result = await rag.adelete_by_doc_id(document_id)
        if result.status != "not_allowed":
            return result, again
        if await open_for_deletion(rag, document_id):
            again = True
        else:
            await check_open(rag)
            await pause(POLL_INTERVAL)  # somebody works without a lease, with LightRAG itself


def _last(errors: list[BaseException]) -> BaseException | None:
    return errors[-1] if errors else None
