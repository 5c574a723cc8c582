"""A span of each run of a Celery task, in the trace of whoever sent it.

The sender's place travels in the headers of the message, by the propagator that the application has set: by default
W3C's ``traceparent``. It stays there when a task is sent again, so all runs of a task are children of the one sender.
"""

from __future__ import annotations

import sys
from typing import Any

from celery import Task, signals, states
from celery.exceptions import Retry
from opentelemetry import context, propagate, trace

from wiring.opentelemetry.scope import error_type, fail, tracer

_RUN = "_opentelemetry_run"
_UID = "lightrag-neo4j-opentelemetry"


def trace_tasks() -> None:
    """Let this process tell of the tasks that it runs, and hand its place on to those that it sends.

    Where ``opentelemetry-instrumentation-celery`` is at work, the spans of tasks are left to that.
    """
    signals.before_task_publish.connect(_hand_on, weak=False, dispatch_uid=_UID)
    signals.task_prerun.connect(_begin, weak=False, dispatch_uid=_UID)
    signals.task_postrun.connect(_end, weak=False, dispatch_uid=_UID)


def _hand_on(headers: dict[str, Any], **_: Any) -> None:
    fields = propagate.get_global_textmap().fields
    if fields.isdisjoint(headers):  # else it is sent again, or its sender did it
        propagate.inject(headers)


def _begin(task_id: str, task: Task[..., Any], **_: Any) -> None:
    if _others_do_it():
        return
    request = task.request
    sender = propagate.extract(request.headers or {}, context.get_current())
    # Names as opentelemetry-instrumentation-celery has them.
    attributes: dict[str, str | int] = {
        "celery.action": "run",
        "celery.task_name": task.name,
        "celery.retries": request.retries,
        "messaging.message.id": task_id,
    }
    span = tracer().start_span(f"run/{task.name}", sender, trace.SpanKind.CONSUMER, attributes)
    setattr(request, _RUN, (span, context.attach(trace.set_span_in_context(span, sender))))


def _end(task: Task[..., Any], retval: Any, state: str | None, **_: Any) -> None:
    span, token = getattr(task.request, _RUN, (None, None))
    if span is None or token is None:
        return
    context.detach(token)
    if state is not None:
        span.set_attribute("celery.state", state)
    error = sys.exception() if state is None else retval  # no state: the process is being ended
    if isinstance(retval, Retry):
        if isinstance(retval.exc, BaseException):
            span.set_attribute("celery.retry.reason", error_type(retval.exc))
    elif isinstance(error, BaseException) and state in (None, states.FAILURE, states.REJECTED):
        fail(span, error)
    span.end()


def _others_do_it() -> bool:
    others = sys.modules.get("opentelemetry.instrumentation.celery")
    return others is not None and bool(others.CeleryInstrumentor().is_instrumented_by_opentelemetry)
