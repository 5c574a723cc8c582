"""What tasks on documents have beyond others: their texts stay out of events, and they tell how far they are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from celery.result import AsyncResult

from app_container.errors import describe
from wiring.celery.delivery import ReliableTask
from wiring.lightrag.ingest import Progress, Report

PROGRESS = "PROGRESS"
"""The state of a task that is at work; ``result.info`` is then a ``Progress``."""

STORE_TIMEOUT = 5.0
"""Seconds to wait for the result backend to take a progress; the document does not wait longer."""

_log = logging.getLogger("wiring.celery")
_storing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="task-progress")


class DocumentTask(ReliableTask):
    """A task whose first argument is a text, which events, logs and Flower show by its length."""

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, *rest: Any, **options: Any
    ) -> AsyncResult[Any]:
        """Send the task; see Celery."""
        shown = argsrepr(args or ())
        return super().apply_async(args, kwargs, *rest, **{"argsrepr": shown, **options})  # type: ignore[arg-type]

    def _told(self) -> str:
        document_id = (self.request.kwargs or {}).get("document_id")
        return super()._told() if document_id is None else f"document {document_id!r}"


def argsrepr(args: Sequence[Any]) -> str:
    """The arguments as people see them: a long text by its length."""
    shown = [f"<{len(each)} characters>" if isinstance(each, str) and len(each) > 80 else repr(each) for each in args]  # noqa: PLR2004
    return f"({', '.join(shown)})"


def report_progress(task: ReliableTask) -> Report:
    """What stores a document's progress as the state of ``task``.

    The result backend is asked in a thread, so that one that hangs does not stop the worker loop; and always in the
    same one, for each has a connection of its own.
    """
    pending: Future[None] | None = None

    async def report(progress: Progress) -> None:
        nonlocal pending
        if pending is None or pending.done():
            pending = _storing.submit(_store, task, progress)
        await asyncio.wait([asyncio.wrap_future(pending)], timeout=STORE_TIMEOUT)

    return report


def _store(task: ReliableTask, progress: Progress) -> None:
    try:
        task.update_state(state=PROGRESS, meta=dict(progress))
    except Exception as error:  # noqa: BLE001 - each backend has its own, and a document is worth more than its progress
        _log.warning("the result backend did not take a task's progress: %s", describe(error))
