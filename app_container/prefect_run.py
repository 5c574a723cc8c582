"""Whose event loop is this, inside a Prefect run? Asked without importing Prefect: who runs inside it has imported it.

Prefect copies the contexts of a flow into the thread and loop of a task that it submits, so that there is one does not
say where the caller is. But each has the client that Prefect opened for its run, and an async client names its loop. A
loop lasts if it was there before any task: if the flow around the outermost task runs on it.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import Any, Literal

PrefectRun = Literal["flow", "task", "sync"]


def prefect_run(loop: asyncio.AbstractEventLoop) -> PrefectRun | None:
    """What Prefect's run contexts say about the running ``loop``.

    Returns:
        "flow" for the loop of a flow, where its tasks are awaited, too; "task" for one that passes with a task;
        "sync" if a sync task or flow was called on the loop of a run around it, and cannot await there; None outside
        of flows and tasks.
    """
    prefect = sys.modules.get("prefect.context")
    contexts = getattr(prefect, "TaskRunContext", None)  # absent while another thread imports Prefect
    if prefect is None or contexts is None:
        return None
    task, flow = contexts.get(), prefect.FlowRunContext.get()
    if task is None and flow is None:
        return None
    try:
        if _sync_code_on(loop, task, flow):
            return "sync"
        if task is None:
            return "flow" if _runs_on(flow, loop) else None
        while (around := _entered_in(task)) is not None:
            task = around
        while flow is not None and _id_of(flow) != task.task_run.flow_run_id:
            flow = _entered_in(flow)
    except _CannotTellError:
        return "task" if task is not None else None
    return "flow" if flow is not None and _runs_on(flow, loop) else "task"


def _sync_code_on(loop: asyncio.AbstractEventLoop, task: Any, flow: Any) -> bool:
    """Whether the innermost run is a sync function that was called by a run whose loop this is.

    If no run around it is on this loop, it is one that the sync function started itself.
    """
    if (task is None or task.task.isasync) and (flow is None or flow.flow is None or flow.flow.isasync):
        return False
    in_task = flow is None or (task is not None and task.task_run.flow_run_id == _id_of(flow))
    innermost = task.task if in_task else flow.flow
    if innermost is None or innermost.isasync:
        return False
    for run in (task, flow):
        around = run
        while around is not None:
            if _runs_on(around, loop):
                return True
            around = _entered_in(around)
    return False


def _entered_in(run: Any) -> Any:
    """The run context of the same kind in which ``run`` was entered, None if there was none.

    A context variable does not give its earlier values; the token of setting it does, which Prefect keeps in a private
    attribute. Without it, also after the end of the run, a task's loop counts as passing: that is the careful answer.
    """
    token = (run.__pydantic_private__ or {}).get("_token")
    if token is None:
        raise _CannotTellError
    previous = token.old_value
    return None if previous is contextvars.Token.MISSING else previous


def _runs_on(run: Any, loop: asyncio.AbstractEventLoop) -> bool:
    return getattr(run.client, "loop", None) is loop  # a sync client has none


def _id_of(flow: Any) -> Any:
    return getattr(flow.flow_run, "id", None)


class _CannotTellError(Exception):
    pass
