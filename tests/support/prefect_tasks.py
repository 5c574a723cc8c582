"""Flows over tasks of ``wiring.prefect``, run in every way that Prefect has; ``main`` prints what each returned.

To be imported: what is defined in a ``__main__`` would be pickled by value for another process.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any

from dependency_injector.wiring import Provide, inject
from neo4j import AsyncDriver, Driver
from neo4j.exceptions import ServiceUnavailable
from prefect import flow, task
from prefect.cache_policies import INPUTS, NO_CACHE
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from app_container import Container
from app_container.container import current_container
from app_container.pools.in_use import connections_in_use
from tests.support.places import own_connections  # which also writes the log of drivers
from wiring.prefect import RELIABLE, async_task
from wiring.prefect import inject as inject_unseen

MAPPED = 100
QUICK: Any = RELIABLE | {"retry_delay_seconds": 0}
THREADS: Any = ThreadPoolTaskRunner(max_workers=3)
PROCESSES: Any = ProcessPoolTaskRunner(max_workers=2)
LONG = "UNWIND range(1, 2000000000) AS n WITH n WHERE n < 0 RETURN count(n)"

_tries: dict[str, int] = {}


@async_task(name="double")
@inject
async def double(number: int, driver: AsyncDriver = Provide[Container.async_driver]) -> int:
    records, _, _ = await driver.execute_query("RETURN 2 * $number AS double", number=number)
    return int(records[0]["double"])


@task(cache_policy=NO_CACHE)
@inject_unseen
def double_sync(number: int, driver: Driver = Provide[Container.sync_driver]) -> int:
    records, _, _ = driver.execute_query("RETURN 2 * $number AS double", number=number)
    return int(records[0]["double"])


@async_task(name="process")
@inject
async def process(number: int, driver: AsyncDriver = Provide[Container.async_driver]) -> int:  # noqa: ARG001
    await driver.verify_connectivity()
    return os.getpid()


@async_task(name="failing_at_first", **QUICK)
async def failing_at_first(name: str, times: int) -> int:
    _tries[name] = _tries.get(name, 0) + 1
    if _tries[name] <= times:
        raise ServiceUnavailable("the server is away")
    return _tries[name]


@async_task(name="wrong", **QUICK)
async def wrong() -> None:
    _tries["wrong"] = _tries.get("wrong", 0) + 1
    raise ValueError("no try will help")


@async_task(name="long")
@inject
async def long(driver: AsyncDriver = Provide[Container.async_driver]) -> None:
    await driver.execute_query(LONG)


@async_task(name="counted", cache_policy=INPUTS, persist_result=True)
async def counted(number: int) -> int:
    _tries["counted"] = _tries.get("counted", 0) + 1
    return number


def results(futures: Any) -> list[Any]:
    return [future.result(timeout=120) for future in futures]


@flow
async def awaited() -> list[int]:
    return [await double(1), *(await asyncio.gather(*(double(n) for n in range(20))))]


@flow
async def mapped() -> list[int]:
    return await asyncio.to_thread(results, double.map(list(range(MAPPED))))


@flow
def mapped_by_a_sync_flow() -> list[int]:
    return results(double.map(list(range(MAPPED))))


@flow(task_runner=THREADS)
def in_three_threads() -> list[int]:
    return results([double.submit(n) for n in range(10)]) + results(double_sync.map(list(range(10))))


@flow(task_runner=PROCESSES)
def in_processes() -> list[int]:
    return results([process.submit(n) for n in range(6)])


@flow
def sync_tasks() -> list[int]:
    return [double_sync(n) for n in range(5)] + results(double_sync.map(list(range(20))))


@flow
async def sync_tasks_in_an_async_flow() -> list[int]:
    return [double_sync(n) for n in range(5)]


@flow
async def nested() -> list[Any]:
    return [await awaited(), await asyncio.to_thread(in_three_threads), sync_tasks()]


@flow
async def retried() -> list[Any]:
    seen: list[Any] = [await failing_at_first("awaited", 2), *results([failing_at_first.submit("submitted", 2)])]
    try:
        await wrong()
    except ValueError as error:
        seen.append([str(error), _tries["wrong"]])
    return seen


@flow
async def cut() -> list[Any]:
    """What is left in use after a task that ran out of time, two that were cancelled, and one in another thread."""
    seen: list[Any] = []
    brief = long.with_options(timeout_seconds=0.5)
    for run in (brief, lambda: asyncio.wait_for(long(), 0.5), _cancelled):
        try:
            await run()
        except (TimeoutError, asyncio.CancelledError) as error:
            seen.append(type(error).__name__)
        seen.append(await in_use())
    state = await asyncio.to_thread(lambda: brief.submit().wait(60) or "ended")
    return [*seen, state, await in_use()]


async def _cancelled() -> None:
    waiting = asyncio.create_task(long())
    await asyncio.sleep(0.5)
    waiting.cancel()
    await waiting


async def in_use() -> int:
    """Connections of the worker loop's driver that somebody uses."""
    container = current_container()

    async def count() -> int:
        return connections_in_use(container.async_driver())

    return await container.worker_loop().run_async(count())


@flow
async def cached() -> list[int]:
    return [await counted(7), await counted(7), _tries["counted"]]


FLOWS: list[Callable[[], Any]] = [
    awaited,
    mapped,
    mapped_by_a_sync_flow,
    in_three_threads,
    in_processes,
    sync_tasks,
    sync_tasks_in_an_async_flow,
    nested,
    retried,
    cut,
    cached,
]


def main() -> None:
    seen: dict[str, Any] = {}
    for run in FLOWS:
        answer = run()
        seen[run.__name__.replace("-", "_")] = asyncio.run(answer) if asyncio.iscoroutine(answer) else answer
    seen["connections"] = own_connections(current_container())
    seen["pid"] = os.getpid()
    print(json.dumps(seen))  # noqa: T201
