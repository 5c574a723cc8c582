"""The id and name of the running task in every log line, also of what a coroutine logs on the worker loop.

Celery knows the running task by thread, and all coroutines of a process share one. So the request goes along in a
context variable, which the worker loop hands to the coroutine.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

from celery import current_task
from celery.app.task import Context

LOG_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] [%(task_id)s] %(message)s"
"""Celery's format of a worker's log lines, and the task's id; ``-`` where no task runs."""

running_request: ContextVar[Context | None] = ContextVar("running_request", default=None)
"""The request of the task that a coroutine on the worker loop belongs to."""


def tell_task_ids() -> None:
    """Give every record of this process ``task_id`` and ``task_name``, whichever logger and handler it is for.

    Celery's formatter for task loggers knows these names; where no task runs they are ``-``.
    """
    make = logging.getLogRecordFactory()
    if getattr(make, "tells_task_ids", False):
        return

    def make_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        request = running_request.get() or (current_task.request if current_task else None)
        record.task_id = (request and request.id) or "-"
        record.task_name = getattr(request, "task", None) or "-"
        return record

    make_record.tells_task_ids = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make_record)
