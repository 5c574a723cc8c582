"""``async_task`` without a server: eager and in memory. Real workers run in tests/integration."""

from __future__ import annotations

import asyncio
import inspect
from typing import Annotated, Any

import pytest
from celery import Celery, Task
from dependency_injector.wiring import Provide, inject

from app_container import AppContainerError, Container
from wiring.celery import async_task, container_of, setup


@pytest.fixture
def app(container: Container) -> Celery:
    app = Celery(broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.task_always_eager = True
    setup(app, container)
    return app


async def add(a: int, b: int = 1, *, c: int = 0) -> int:
    """Add."""
    await asyncio.sleep(0)
    return a + b + c


@inject
async def greet(name: str, *, driver: Any = Provide[Container.driver]) -> str:
    return f"{name} got {driver}"


def test_a_coroutine_function_becomes_a_task(app: Celery) -> None:
    task = async_task(app, name="add", shared=False)(add)
    assert task.name == "add"
    assert task.__doc__ == "Add."
    assert task.delay(1, c=2).get() == 4


def test_wrong_arguments_fail_where_the_task_is_called(app: Celery) -> None:
    app.conf.task_always_eager = False
    task = async_task(app, name="add", shared=False)(add)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        task.delay()
    with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments but 3 were given"):
        task.delay(1, 2, 3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'd'"):
        task.delay(1, d=2)


def test_injected_arguments_are_no_part_of_the_signature(app: Celery, container: Container) -> None:
    task = async_task(app, name="greet", shared=False)(greet)
    assert list(inspect.signature(task.run).parameters) == ["name"]
    with container.driver.override("a fake"):
        assert task.delay("Ada").get() == "Ada got a fake"


async def annotated(name: str, *, driver: Any) -> str:
    return f"{name} got {driver}"


# dependency-injector does not read annotations that are strings, and here all of them are.
annotated.__annotations__["driver"] = Annotated[Any, Provide[Container.driver]]
annotated = inject(annotated)


def test_what_is_injected_by_annotation_is_no_part_of_it_either(app: Celery, container: Container) -> None:
    app.conf.task_always_eager = False
    task = async_task(app, name="annotated", shared=False)(annotated)
    assert list(inspect.signature(task.run).parameters) == ["name"]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        task.delay()
    app.conf.task_always_eager = True
    with container.driver.override("a fake"):
        assert task.delay("Ada").get() == "Ada got a fake"


def test_a_bound_task_sees_itself(app: Celery) -> None:
    @async_task(app, name="who", bind=True, shared=False)
    async def who(self: Task[..., Any], suffix: str) -> str:
        return f"{self.name}{suffix}"

    assert who.delay("!").get() == "who!"


def test_an_error_reaches_the_caller(app: Celery) -> None:
    @async_task(app, name="failing", shared=False)
    async def failing() -> None:
        raise AppContainerError("one line")

    with pytest.raises(AppContainerError, match="one line"):
        failing.delay().get()


def test_an_app_without_a_container_says_what_to_call() -> None:
    with pytest.raises(
        AppContainerError, match=r"'bare' has no container; call wiring\.celery\.setup\(app, container\)"
    ):
        container_of(Celery("bare", set_as_current=False))
