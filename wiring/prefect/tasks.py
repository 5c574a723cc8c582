"""Prefect tasks that are coroutines on the worker loop: ``@async_task(name=...)`` over an ``async def``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypedDict, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from app_container.injection import ensure_wired
from app_container.transient import passing_cause
from wiring.prefect.injection import show
from wiring.prefect.runs import container_of_run

AsyncFunction = TypeVar("AsyncFunction", bound=Callable[..., Coroutine[Any, Any, Any]])


class Retrying(TypedDict):
    """Those of Prefect's task options that say whether, when and how often a task runs again."""

    retries: int
    retry_delay_seconds: list[float]
    retry_jitter_factor: float
    retry_condition_fn: Callable[[Task[..., Any], TaskRun, State[Any]], bool]


def async_task(**options: Any) -> Callable[[AsyncFunction], Task[..., Any]]:
    """Make a Prefect task of an ``async def``; it runs on the container's worker loop.

    Awaited, submitted or mapped, and whichever loop Prefect makes for it, all runs of it in a process share that loop's
    driver. A timeout or a cancellation cancels the coroutine and waits for its clean-up. Arguments that
    dependency-injector fills are no parameters of the task. The container is the one that ``create_container`` made
    last in the process, else one that is made now.

    Args:
        options: Prefect's task options, e.g. ``name``, ``retries``, ``timeout_seconds``, ``tags``. Unless they say
            otherwise, nothing is cached: what a task does to a graph, it has to do each time.
    """

    def decorate(function: AsyncFunction) -> Task[..., Any]:
        @functools.wraps(function)
        async def run(*args: Any, **kwargs: Any) -> Any:
            container = container_of_run()
            ensure_wired(container, function)
            return await container.worker_loop().run_async(function(*args, **kwargs))

        made: Task[..., Any] = task(**{"cache_policy": NO_CACHE} | options)(show(run, function))
        return made

    return decorate


def passes(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001 - Prefect's signature
    """Whether a task should be tried again: what it failed with passes by itself; see ``app_container.transient``.

    To be given to Prefect as ``retry_condition_fn``.
    """
    error = state.data
    return isinstance(error, BaseException) and passing_cause(error) is not None


RELIABLE: Retrying = {
    "retries": 10,
    "retry_delay_seconds": [1, 2, 4, 8, 16, 32, 60, 60, 60, 60],
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": passes,
}
"""Options for tasks that are tried again when what failed passes by itself: ``@async_task(name="add", **RELIABLE)``.

They must be idempotent. Eleven tries, over about five minutes.
"""
