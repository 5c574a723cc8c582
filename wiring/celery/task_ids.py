"""The id of the running task in every log line, also in what a coroutine logs on the worker loop.

Celery knows the running task by thread, and all coroutines of a process share one. So the request goes along in a
context variable, which the worker loop hands to the coroutine.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

from celery import current_task, signals
from celery.app.defaults import DEFAULT_PROCESS_LOG_FMT  # type: ignore[attr-defined]  # unknown to the stub
from celery.app.task import Context
from celery.utils.log import ColorFormatter

LOG_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] [%(celery_task_id)s] %(message)s"
"""Celery's format of a worker's log lines, and the task's id; ``-`` where no task runs."""

running_request: ContextVar[Context | None] = ContextVar("running_request", default=None)
"""The request of the task that a coroutine on the worker loop belongs to."""


def request_here() -> Context | None:
    """The request of the task that runs here; None where none does."""
    return running_request.get() or (current_task.request if current_task else None)


class TaskIdFormatter(ColorFormatter):
    """Celery's formatter, for formats that say ``celery_task_id``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with the task that runs where it is logged."""
        request = request_here()
        record.celery_task_id = (request and request.id) or "-"
        return super().format(record)


def tell_task_ids() -> None:
    """Let workers whose log format is Celery's own tell the task as well."""
    signals.after_setup_logger.connect(_use_formatter, weak=False, dispatch_uid="lightrag-neo4j-task-ids")


def _use_formatter(logger: logging.Logger, format: str, **_: Any) -> None:  # noqa: A002 - the signal's
    if format != DEFAULT_PROCESS_LOG_FMT:
        return
    for handler in logger.handlers:
        if isinstance(handler.formatter, ColorFormatter):
            handler.setFormatter(TaskIdFormatter(LOG_FORMAT, use_color=handler.formatter.use_color))
