"""Which document a log line is about, in context variables, which go along wherever a coroutine hands on its work.

LightRAG's own lines are told by them, too. The tasks of its queues, which call the models, last longer than the
document for which they were made, and keep its context; a model is called in that of its own document.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_workspace: ContextVar[str | None] = ContextVar("log_workspace", default=None)
_document_id: ContextVar[str | None] = ContextVar("log_document_id", default=None)

_QUEUE = "priority_limit_async_func_call."  # how the names of LightRAG's coroutines that serve a queue begin


@contextmanager
def about(workspace: str, document_id: str | None = None) -> Iterator[None]:
    """What is logged meanwhile is about this workspace, and this document in it."""
    tokens = _workspace.set(workspace), _document_id.set(document_id)
    try:
        yield
    finally:
        _document_id.reset(tokens[1])
        _workspace.reset(tokens[0])


def document_fields() -> dict[str, str]:
    """``workspace`` and ``document_id`` of what is being done here, as far as there are any."""
    fields = {"workspace": _workspace.get(), "document_id": _document_id.get()}
    return {name: value for name, value in fields.items() if value is not None}


def serves_a_queue() -> bool:
    """Whether this runs in a task of one of LightRAG's queues, whose context is that of something else."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and getattr(task.get_coro(), "__qualname__", "").startswith(_QUEUE)
