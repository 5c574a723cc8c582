"""What tasks on documents have beyond others: long texts stay out of what is shown, and they tell how far they are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from celery.result import AsyncResult

from app_container.errors import describe
from wiring.celery.delivery import ReliableTask
from wiring.lightrag.ingest import Progress

PROGRESS = "PROGRESS"
"""The state of a task that is at work; ``result.info`` is then a ``Progress``."""

SHOWN_LENGTH = 80
"""Characters; a longer text is told by its length."""

STORE_TIMEOUT = 5.0
"""Seconds to wait for the result backend to take a progress; the document does not wait longer."""

_log = logging.getLogger("wiring.celery")
_storing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="task-progress")


class DocumentTask(ReliableTask):
    """A task whose arguments are shown by events, logs and Flower with long texts told by their length."""

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, *rest: Any, **options: Any
    ) -> AsyncResult[Any]:
        """Send the task; see Celery."""
        return super().apply_async(args, kwargs, *rest, **{**shown(args, kwargs), **options})  # type: ignore[arg-type]

    def _told(self) -> str:
        document_id = (self.request.kwargs or {}).get("document_id")
        return super()._told() if document_id is None else f"document {document_id!r}"


def shown(args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """How people see the arguments, as options of Celery's ``apply_async`` and ``send_task``."""
    named = ", ".join(f"{name!r}: {_short(value)}" for name, value in (kwargs or {}).items())
    return {"argsrepr": f"({', '.join(map(_short, args or ()))})", "kwargsrepr": f"{{{named}}}"}


def _short(value: Any) -> str:
    return f"<{len(value)} characters>" if isinstance(value, str) and len(value) > SHOWN_LENGTH else repr(value)


class ProgressReport:
    """Stores a document's progress as the state of its task; called with each.

    The result backend is asked in a thread, so that one that hangs does not stop the worker loop; and always in the
    same one, for each has a connection of its own.

    Args:
        task: the task, which runs.
    """

    def __init__(self, task: ReliableTask) -> None:
        self._task = task
        self._pending: Future[None] | None = None

    async def __call__(self, progress: Progress) -> None:
        """Store it, unless the one before is not stored yet; waits for ``STORE_TIMEOUT`` seconds at the most."""
        if self._pending is None or self._pending.done():
            self._pending = _storing.submit(_store, self._task, progress)
        await self._wait(STORE_TIMEOUT)

    async def end(self) -> None:
        """Wait for what is not stored yet, for it must not come after the state in which the task ends.

        It waits as long as the backend is tried; that state has to pass the same way.
        """
        await self._wait(None)

    async def _wait(self, seconds: float | None) -> None:
        if self._pending is not None:
            await asyncio.wait([asyncio.wrap_future(self._pending)], timeout=seconds)


def _store(task: ReliableTask, progress: Progress) -> None:
    try:
        task.update_state(state=PROGRESS, meta=dict(progress))
    except Exception as error:  # noqa: BLE001 - each backend has its own, and a document is worth more than its progress
        _log.warning("the result backend did not take a task's progress: %s", describe(error))
