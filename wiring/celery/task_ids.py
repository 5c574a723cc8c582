"""The id and name of the running task in every log line, also of what a coroutine logs on the worker loop.

Celery knows the running task by thread, and all coroutines of a process share one. So the request goes along in a
context variable, which the worker loop hands to the coroutine.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

from celery import current_task, signals
from celery.app.task import Context

LOG_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] [%(task_id)s] %(message)s"
"""Celery's format of a worker's log lines, and the task's id; ``-`` where no task runs."""

running_request: ContextVar[Context | None] = ContextVar("running_request", default=None)
"""The request of the task that a coroutine on the worker loop belongs to."""


class TaskIds(logging.Filter):
    """Gives each record ``task_id`` and ``task_name``, as Celery's formatter for task loggers does."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record through."""
        request = running_request.get() or (current_task.request if current_task else None)
        if not hasattr(record, "task_id"):
            record.task_id = (request and request.id) or "-"
            record.task_name = getattr(request, "task", None) or "-"
        return True


def tell_task_ids() -> None:
    """Let the handlers that Celery makes give their records the ids."""
    for signal in (signals.after_setup_logger, signals.after_setup_task_logger):
        signal.connect(_add_filter, weak=False, dispatch_uid="lightrag-neo4j-task-ids")


def _add_filter(logger: logging.Logger, **_: Any) -> None:
    for handler in logger.handlers:
        handler.addFilter(TaskIds())
