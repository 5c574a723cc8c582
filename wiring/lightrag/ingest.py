"""How accepted documents get through LightRAG's pipeline, in whichever process has the lease of their workspace."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypedDict

from wiring.lightrag.cancelling import end, end_if_cancelled
from wiring.lightrag.errors import DocumentNotFoundError, LeaseLostError
from wiring.lightrag.fence import check_open
from wiring.lightrag.leases.keeping import given_back, work_under
from wiring.lightrag.leases.lease import Lease
from wiring.lightrag.leases.line import LONGEST_PAUSE, Line
from wiring.lightrag.leases.store import LeaseStore, Waiting
from wiring.lightrag.log_context import about

if TYPE_CHECKING:
    from wiring.lightrag.pipeline import Pipeline

POLL_INTERVAL = 0.1
"""Seconds between two looks at a document that another process is working on."""

PROGRESS_INTERVAL = 1.0
"""Seconds between two reports of a document's progress."""


class Progress(TypedDict):
    """How far a document is: LightRAG's status, and how many of its chunks a model has read."""

    stage: str
    done: int
    total: int


Report = Callable[[Progress], Awaitable[None]]


class Ingest:
    """The run of LightRAG's pipeline in this process, for one workspace.

    One process at a time has the workspace's lease and works, and it takes up whatever was accepted meanwhile. So the
    run belongs to no single caller: each waits for its own document, whoever processes it, and asks for the lease
    while it waits. So no document is left behind: each one that is not final is waited for by somebody who asks.

    Args:
        rag: the workspace's LightRAG.
        leases: where the lease is.
    """

    def __init__(self, rag: Pipeline, leases: LeaseStore) -> None:
        self._rag = rag
        self._leases = leases
        self._line = Line(leases, rag.workspace)
        self._run: asyncio.Task[None] | None = None
        self._waiting: list[str] = []
        self._asking = asyncio.Lock()
        self._ask_again = 0.0
        self._needs_it_alone = False
        rag.waiting = self._waiting

    async def until_final(self, key: str, report: Report | None = None) -> dict[str, Any]:
        """Wait until the document is processed, and return its row of the document status.

        Args:
            key: the document.
            report: told of its progress every ``PROGRESS_INTERVAL`` seconds.
        """
        from lightrag.base import DocStatus

        from wiring.lightrag.pipeline import failure

        self._waiting.append(key)
        report_again = time.monotonic()
        try:
            while True:
                row: dict[str, Any] | None = await self._rag.doc_status.get_by_id(key)
                if row is None:
                    raise DocumentNotFoundError(f"document {key!r} was deleted while it was inserted")
                if row["status"] == DocStatus.PROCESSED:
                    # A file-based storage tells it before it is in the file.
                    await self._rag.doc_status.index_done_callback()
                    return row
                if row["status"] == DocStatus.FAILED:
                    raise failure(key, row.get("error_msg"))
                if report is not None and time.monotonic() >= report_again:
                    await report(await self._progress(row))
                    report_again = time.monotonic() + PROGRESS_INTERVAL
                await self._work_or_wait()
                end_if_cancelled()
        except asyncio.CancelledError:
            if len(self._waiting) == 1:
                await self.stop()
            raise
        finally:
            self._waiting.remove(key)
            if not self._waiting:
                await self._leave()

    async def _work_or_wait(self) -> None:
        """See that some process is at work, and wait for a moment."""
        if self._run is None or self._run.done():
            async with self._asking:
                await self._ask()
        if self._run is None or self._run.done():
            await check_open(self._rag)
            await asyncio.sleep(POLL_INTERVAL)
        else:
            await asyncio.wait([self._run], timeout=POLL_INTERVAL)
            if self._run.done() and not self._run.cancelled():  # cancelled by stop(), for somebody who left
                self._run.result()  # raises what ended the run

    async def _ask(self) -> None:
        """Ask for the lease, unless a process of the same worker has it, which is told of what was accepted here."""
        from wiring.lightrag.interruptions import suspects

        if time.monotonic() < self._ask_again or (self._run is not None and not self._run.done()):
            return
        if not self._line.is_in_it and self._ask_again == 0.0 and await self._rag.is_at_work():
            self._ask_again = time.monotonic() + LONGEST_PAUSE
            return
        found = await self._line.ask(alone=self._needs_it_alone)
        if isinstance(found, Lease):
            self._ask_again = 0.0
            # In a context of its own, for it serves more than the task that happens to start it.
            self._run = asyncio.create_task(self._drain(found), context=contextvars.Context())
            return
        self._needs_it_alone = not suspects(found.interrupted).isdisjoint(self._waiting)
        self._ask_again = time.monotonic() + self._line.pause

    async def _drain(self, lease: Lease) -> None:
        """Process all documents there are, and those that came in the end, and give the lease back."""
        seen = 0

        async def look_again(waiting: Waiting) -> None:
            nonlocal seen
            if waiting.last > seen:
                seen = waiting.last
                await self._rag.look_again()

        with about(self._rag.workspace):
            try:
                async with given_back(self._leases, lease):
                    while True:
                        await work_under(self._leases, lease, self._rag.apipeline_process_enqueue_documents, look_again)
                        last = await self._leases.give_back(lease, seen)
                        if last is None:
                            return
                        seen = last
            except LeaseLostError:
                return  # who waits here asks again

    async def _leave(self) -> None:
        self._needs_it_alone, self._ask_again = False, 0.0
        await self._line.leave()

    async def _progress(self, row: dict[str, Any]) -> Progress:
        chunks: list[str] = row.get("chunks_list") or []
        stored = await self._rag.text_chunks.get_by_ids(chunks) if chunks else []
        read = sum(bool(chunk and chunk.get("llm_cache_list")) for chunk in stored)
        return Progress(stage=str(getattr(row["status"], "value", row["status"])), done=read, total=len(chunks))

    async def stop(self) -> None:
        """Nobody here waits any more: end the run, and leave the rest to those who wait, in whichever process."""
        if self._run is not None:
            await end(self._run)
