"""Prefect flows whose tasks ask for a driver: called, awaited, submitted, mapped and nested."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from tests.support.places import (
    Answer,
    Place,
    Visit,
    ask,
    ask_async,
    container_for,
    own_connections,
    own_log,
    show,
    visiting,
)

Answers = list[Answer]
MAPPED = 100


@task(cache_policy=NO_CACHE)
def sync_task(place: str) -> Answer:
    return ask(place)


@task(cache_policy=NO_CACHE)
def task_with_own_loop(place: str) -> Answer:
    return asyncio.run(ask_async(place))


@task(cache_policy=NO_CACHE)
async def async_task(place: str) -> Answer:
    return await ask_async(place)


async def await_tasks(place: str) -> Answers:
    one_by_one = [await async_task(place) for _ in range(5)]
    return one_by_one + list(await asyncio.gather(*(async_task(place) for _ in range(5))))


async def submit_tasks(place: str) -> Any:
    return await results([async_task.submit(place) for _ in range(10)])


async def results(futures: Any) -> Any:
    return await asyncio.to_thread(results_of, futures)


def results_of(futures: Any) -> Any:
    return [future.result() for future in futures]


async_flow_with_tasks = flow(await_tasks)
task_with_tasks = task(cache_policy=NO_CACHE)(await_tasks)
task_that_submits = task(cache_policy=NO_CACHE)(submit_tasks)


@task(cache_policy=NO_CACHE)
async def task_with_flow(place: str) -> Answers:
    return [*[await ask_async(place) for _ in range(5)], *(await async_flow_with_tasks(place))[:5]]


@flow
def sync_flow(place: str) -> Answers:
    return [ask(place) for _ in range(10)]


@flow
def sync_flow_that_calls(place: str) -> Answers:
    return [sync_task(place) for _ in range(10)]


@flow
def sync_flow_that_submits_sync(place: str) -> Any:
    return results_of([sync_task.submit(place) for _ in range(10)])


@flow
def sync_flow_that_submits(place: str) -> Any:
    return results_of([async_task.submit(place) for _ in range(10)])


@flow
def sync_flow_of_own_loops(place: str) -> Answers:
    return [task_with_own_loop(place) for _ in range(10)]


@flow
def sync_flow_with_own_loop(place: str) -> Answers:
    async def main() -> Answers:
        return [await ask_async(place) for _ in range(10)]

    return asyncio.run(main())


@flow
def sync_flow_with_tasks_on_own_loop(place: str) -> Answers:
    return asyncio.run(await_tasks(place))


@flow
async def async_flow(place: str) -> Answers:
    return [await ask_async(place) for _ in range(10)]


@flow
async def async_flow_that_calls_sync(place: str) -> Answers:
    return [*[sync_task(place) for _ in range(5)], *sync_flow_that_calls(place)[:5]]


@flow
async def async_flow_that_submits_sync(place: str) -> Any:
    return await results([sync_task.submit(place) for _ in range(10)])


@flow
async def async_flow_that_maps(place: str) -> Any:
    return await results(async_task.map([place] * MAPPED))


def in_a_flow(work: Callable[[str], Any]) -> Callable[[str], Any]:
    """An async flow that awaits ``work``, a coroutine function or a task."""

    @flow
    async def awaiting(place: str) -> Any:
        return await work(place)

    return awaiting


def submitting(work: Any) -> Callable[[str], Any]:
    """An async flow that submits the task ``work``."""

    @flow
    async def submits(place: str) -> Any:
        return (await results([work.submit(place)]))[0]

    return submits


def place(name: str, asks: str = "10 tasks", loop: str = "the flow") -> Place:
    return Place(f"Prefect: {name}", asks, loop=loop)


FLOWS: list[tuple[Place, Callable[[str], Any]]] = [
    (place("a sync flow", "10 asks"), sync_flow),
    (place("a sync task, called by a sync flow"), sync_flow_that_calls),
    (place("a sync task, submitted by a sync flow"), sync_flow_that_submits_sync),
    (place("a sync task's own `asyncio.run`"), sync_flow_of_own_loops),
    (place("an async task, submitted by a sync flow"), sync_flow_that_submits),
    (place("a sync flow's own `asyncio.run`", "10 asks", "that `asyncio.run`"), sync_flow_with_own_loop),
    (place("an async task, awaited in a sync flow's own `asyncio.run`"), sync_flow_with_tasks_on_own_loop),
    (place("an async flow", "10 asks"), async_flow),
    (place("a sync task or sync flow, called by an async flow"), async_flow_that_calls_sync),
    (place("a sync task, submitted by an async flow"), async_flow_that_submits_sync),
    (place("an async task, awaited in an async flow"), in_a_flow(await_tasks)),
    (place("an async task, submitted by an async flow"), in_a_flow(submit_tasks)),
    (place("an async task, mapped by an async flow", f"{MAPPED} tasks"), async_flow_that_maps),
    (place("async tasks, awaited in an awaited task"), in_a_flow(task_with_tasks)),
    (place("async tasks, awaited in a submitted task"), submitting(task_with_tasks)),
    (place("async tasks, submitted by an awaited task"), in_a_flow(task_that_submits)),
    (place("async tasks, submitted by a submitted task"), submitting(task_that_submits)),
    (place("an async flow in an async flow, and its awaited tasks"), in_a_flow(async_flow_with_tasks)),
    (place("an async flow in an awaited task, and its awaited tasks"), in_a_flow(task_with_flow)),
    (place("an async flow in a submitted task, and its awaited tasks"), submitting(task_with_flow)),
    (place("an async task without a flow, awaited"), await_tasks),
]


def visit(place: Place, run: Callable[[str], Any]) -> Visit:
    with visiting(place, own_log()) as seen:
        answers = run(place.name)
        seen.answers = asyncio.run(answers) if asyncio.iscoroutine(answers) else answers
    if run is async_flow_that_maps:
        seen.connections = own_connections(container_for(place.name))  # only this place's driver is open now
    container_for(place.name).shutdown_resources()
    return seen


if __name__ == "__main__":
    show([visit(place, run) for place, run in FLOWS])
