"""Celery tasks that are coroutines: ``@async_task(app, name=...)`` over an ``async def``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from celery import Celery, Task, current_task
from celery.app.task import Context

from app_container import AppContainerError, Container
from app_container.injection import ensure_wired, hide_injected
from wiring.celery.task_ids import running_request

AsyncFunction = TypeVar("AsyncFunction", bound=Callable[..., Coroutine[Any, Any, Any]])

CONTAINER = "lightrag_neo4j_container"
"""The key of an application's configuration under which ``setup`` keeps its container."""


def async_task(app: Celery, **options: Any) -> Callable[[AsyncFunction], Task[..., Any]]:
    """Make a Celery task of an ``async def``; it runs on the container's worker loop.

    The task has the function's signature, so Celery refuses wrong arguments when it is called, not when it runs.
    Arguments that dependency-injector fills are not part of it. A soft time limit cancels the coroutine and waits for
    its clean-up.

    Args:
        app: the application, which ``setup`` gave a container.
        options: Celery's task options, e.g. ``name``, ``bind``, ``autoretry_for``, ``base``. What a coroutine with
            ``bind=True`` is given as ``self`` is its task, with the request of this one run.
    """
    is_bound = bool(options.get("bind"))

    def decorate(function: AsyncFunction) -> Task[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            container = container_of(app)
            ensure_wired(container, function)
            if is_bound:
                args = (_with_its_request(args[0]), *args[1:])
            token = running_request.set(current_task.request if current_task else None)
            try:
                return container.worker_loop().run(function(*args, **kwargs))
            finally:
                running_request.reset(token)

        # The task's own signature: without what is injected, and without the way back to the function.
        hide_injected(run, function)
        del run.__wrapped__
        task: Task[..., Any] = app.task(**options)(run)
        return task

    return decorate


def container_of(app: Celery) -> Container:
    """The container ``setup`` gave to ``app``.

    Raises:
        AppContainerError: it was given none.
    """
    container = app.conf.get(CONTAINER)
    if container is None:
        raise AppContainerError(f"Celery app {app.main!r} has no container; call wiring.celery.setup(app, container)")
    found: Container = container
    return found


class _OneRequest:
    """In place of a task's stack of requests, which each thread has for itself."""

    def __init__(self, request: Context) -> None:
        self.top = request


def _with_its_request(task: Task[..., Any]) -> Task[..., Any]:
    """The same task for the worker loop's thread, where many tasks run at once: it knows the request of this run."""
    bound: Task[..., Any] = object.__new__(type(task))
    bound.__dict__.update(task.__dict__, request_stack=_OneRequest(task.request))
    return bound
