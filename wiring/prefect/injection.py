"""What Prefect makes a task or a flow of: a function that receives from the container, and does not show it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import dependency_injector.wiring

from app_container.injection import ensure_wired, hide_injected
from wiring.prefect.runs import container_of_run

Function = TypeVar("Function", bound=Callable[..., Any])


def inject(function: Function) -> Function:
    """Let a function receive from the container, as the innermost decorator of a Prefect task or flow.

    It is dependency-injector's ``@inject``, but what is injected is no parameter of the task or flow: Prefect neither
    shows it nor lets it be given. The container is the one that ``create_container`` made last in the process, else one
    that is made now, from the configuration of the process. The function's module need not be named in ``wire=[...]``.

    Args:
        function: a function or coroutine function with ``Provide[...]`` among its defaults.
    """
    injecting = dependency_injector.wiring.inject(function)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run(*args: Any, **kwargs: Any) -> Any:
            ensure_wired(container_of_run(), function)
            return await injecting(*args, **kwargs)
    else:

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            ensure_wired(container_of_run(), function)
            return injecting(*args, **kwargs)

    return show(run, function)  # type: ignore[return-value]


def show(run: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """Give ``run``, which wraps ``function``, the signature that callers may use, and a name by which it is found.

    Prefect sends a task to another process (``ProcessPoolTaskRunner``) by pickling it with its function, and a function
    by its qualified name. Under its own name the module has the task, not the function; that is the task's ``fn``.
    """
    hide_injected(run, function)
    name = function.__name__
    run.__dict__.update({"fn": run, name: run})
    run.__qualname__ = f"{function.__qualname__}.fn.{name}"  # Prefect's key of a task is made of the last part
    return run
