"""What the container's lifetimes cost: a task of one query, against the bare driver and a driver per task.

Run it with ``make bench``, on a real Neo4j; the rounds of all contenders are interleaved. What counts are the ratios of
one run: the milliseconds depend on the machine.
"""

from __future__ import annotations

import asyncio
import statistics
import time
import timeit
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop
from neo4j import AsyncGraphDatabase, GraphDatabase
from rich.console import Console
from rich.table import Table

from app_container.container import Container
from app_container.drivers import build_sync_driver, open_async_driver
from benchmarks.real_neo4j import container_on_a_real_neo4j, read, read_async

ROUNDS, TASKS_A_ROUND = 31, 10
CALLS = 200_000

BARE = "bare driver in a loop"


def main() -> None:
    console = Console(width=140)
    with container_on_a_real_neo4j() as container:
        settings = container.settings().neo4j
        console.print(_provider_calls(container))
        console.print(_tasks(container, settings.uri, (settings.username, settings.password.get_secret_value())))
        console.print(_openings(container))


def _provider_calls(container: Container) -> Table:
    """Microseconds that asking for a driver takes when it is there."""

    async def on_a_loop(ask: Callable[[], object]) -> float:
        return _microseconds(ask)

    async def in_a_task(ask: Callable[[], object]) -> float:
        return await asyncio.create_task(on_a_loop(ask))

    table = Table("asking for a driver that is there", "microseconds: min of 5")
    table.add_row("container.sync_driver()", f"{_microseconds(container.sync_driver):.2f}")
    table.add_row("container.async_driver()", f"{asyncio.run(in_a_task(container.async_driver)):.2f}")
    table.add_row("container.driver() in a thread", f"{_microseconds(container.driver):.2f}")
    table.add_row("container.driver() on a loop", f"{asyncio.run(in_a_task(container.driver)):.2f}")
    return table


def _microseconds(ask: Callable[[], object]) -> float:
    ask()
    return min(timeit.repeat(ask, number=CALLS, repeat=5)) / CALLS * 1e6


def _openings(container: Container) -> Table:
    """Milliseconds of the first query of a driver: a connection is opened for it."""
    settings = container.settings().neo4j

    async def first(driver: Any) -> float:
        started = time.perf_counter()
        await read_async(driver)
        return (time.perf_counter() - started) * 1000

    async def ours() -> float:
        return await first(container.async_driver())

    async def bare() -> float:
        async with open_async_driver(settings) as driver:
            return await first(driver)

    def sync() -> float:
        with build_sync_driver(settings) as driver:
            return _timed(lambda: read(driver))

    contenders: dict[str, Callable[[], float]] = {
        "sync driver": sync,
        "container.async_driver()": lambda: asyncio.run(ours()),
        "container.async_driver() on uvloop": lambda: uvloop.run(ours()),
        "a bare async driver": lambda: asyncio.run(bare()),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, open_one in contenders.items():
            times[name].append(open_one())
    table = Table("opening a connection, with its first query", "ms: min", "median", "max")
    for name, each in times.items():
        table.add_row(name, *(f"{figure:.2f}" for figure in (min(each), statistics.median(each), max(each))))
    return table


def _tasks(container: Container, uri: str, auth: tuple[str, str]) -> Table:
    bare = build_sync_driver(container.settings().neo4j)

    def own_sync_driver() -> None:
        with GraphDatabase.driver(uri, auth=auth) as driver:
            read(driver)

    async def own_async_driver() -> None:
        async with AsyncGraphDatabase.driver(uri, auth=auth) as driver:
            await read_async(driver)

    async def through(provider: Callable[[], Any]) -> None:
        await read_async(provider())

    def on_the_worker_loop() -> None:
        container.worker_loop().run(through(container.async_driver))

    def run(make: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
        return lambda: asyncio.run(make())

    results = _interleaved(
        {
            BARE: lambda: read(bare),
            "container.sync_driver()": lambda: read(container.sync_driver()),
            "container.worker_loop().run(...) with container.async_driver()": on_the_worker_loop,
            "asyncio.run(...) with container.bridged_driver()": run(lambda: through(container.bridged_driver)),
            "asyncio.run(...) with container.async_driver(), one a loop": run(lambda: through(container.async_driver)),
            "a new sync driver per task": own_sync_driver,
            "asyncio.run(...) and a new async driver per task": run(own_async_driver),
        },
        lambda: _newest_connection(uri, auth),
    )
    bare.close()
    return _table(results)


def _interleaved(
    contenders: dict[str, Callable[[], None]], newest_connection: Callable[[], int]
) -> dict[str, tuple[list[float], int]]:
    """Milliseconds of each round's median task, and the connections opened in all, by contender."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    connections: dict[str, int] = dict.fromkeys(contenders, 0)
    for number in range(ROUNDS):
        for name, task in contenders.items():
            before = newest_connection()
            each = [_timed(task) for _ in range(TASKS_A_ROUND)]
            if number:  # the first round opens what is kept
                times[name].append(statistics.median(each))
            connections[name] += newest_connection() - before - 1
    return {name: (times[name], connections[name]) for name in contenders}


def _table(results: dict[str, tuple[list[float], int]]) -> Table:
    tasks = ROUNDS * TASKS_A_ROUND
    table = Table(
        "a task of one query", "ms: min", "median", "max", "against the bare driver", f"connections for {tasks} tasks"
    )
    base = results[BARE][0]
    for name, (rounds, connections) in results.items():
        figures = (f"{figure:.2f}" for figure in (min(rounds), statistics.median(rounds), max(rounds)))
        ratio = statistics.median(mine / bare for mine, bare in zip(rounds, base, strict=True))
        table.add_row(name, *figures, f"{ratio:.2f} x", str(connections))
    return table


def _timed(task: Callable[[], None]) -> float:
    started = time.perf_counter()
    task()
    return (time.perf_counter() - started) * 1000


def _newest_connection(uri: str, auth: tuple[str, str]) -> int:
    with GraphDatabase.driver(uri, auth=auth) as driver, driver.session() as session:
        ids = session.run("CALL dbms.listConnections() YIELD connectionId").value()
    return max(int(name.rpartition("-")[2]) for name in ids)


if __name__ == "__main__":
    main()
