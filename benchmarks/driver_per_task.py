"""A task of one query: with a driver from the container, and with a driver of its own. On a real Neo4j, interleaved.

Run it with ``make bench``. What counts are the ratios of one run: the milliseconds depend on the machine.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from neo4j import AsyncDriver, AsyncGraphDatabase, Driver, GraphDatabase
from rich.console import Console
from rich.table import Table

from app_container.container import Container
from app_container.settings import Settings
from wiring.local_neo4j import LocalNeo4j

ROUNDS, TASKS_A_ROUND = 20, 10


def main() -> None:
    local = LocalNeo4j(Path(".lightrag/bench-neo4j"))
    server = local.start()
    container = Container()
    container.config.from_dict(
        Settings.model_validate({"neo4j": {"uri": server.uri, "password": server.password}}).model_dump()
    )
    try:
        _show(_measure(container, server.uri, ("neo4j", server.password)))
    finally:
        container.shutdown_resources()
        local.stop()


def _measure(container: Container, uri: str, auth: tuple[str, str]) -> dict[str, tuple[list[float], float]]:
    """Milliseconds of each round's median task, and connections opened a task, by contender."""
    bare = GraphDatabase.driver(uri, auth=auth)

    def own_sync_driver() -> None:
        with GraphDatabase.driver(uri, auth=auth) as driver:
            _read(driver)

    async def own_async_driver() -> None:
        async with AsyncGraphDatabase.driver(uri, auth=auth) as driver:
            await _read_async(driver)

    async def through_async_driver() -> None:
        await _read_async(container.async_driver())

    contenders: dict[str, Callable[[], None]] = {
        "bare driver in a loop": lambda: _read(bare),
        "container.sync_driver()": lambda: _read(container.sync_driver()),
        "container.worker_loop().run(...)": lambda: container.worker_loop().run(through_async_driver()),
        "a new sync driver per task": own_sync_driver,
        "asyncio.run and a new async driver per task": lambda: asyncio.run(own_async_driver()),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    connections: dict[str, int] = dict.fromkeys(contenders, 0)
    for task in contenders.values():
        task()
    for _ in range(ROUNDS):
        for name, task in contenders.items():
            before = _newest_connection(uri, auth)
            each = [_timed(task) for _ in range(TASKS_A_ROUND)]
            times[name].append(statistics.median(each))
            connections[name] += _newest_connection(uri, auth) - before - 1
    bare.close()
    tasks = ROUNDS * TASKS_A_ROUND
    return {name: (times[name], connections[name] / tasks) for name in contenders}


def _show(results: dict[str, tuple[list[float], float]]) -> None:
    table = Table("one task, one query", "ms: min", "median", "max", "against the bare driver", "connections a task")
    base = statistics.median(results["bare driver in a loop"][0])
    for name, (rounds, connections) in results.items():
        median = statistics.median(rounds)
        figures = (f"{min(rounds):.2f}", f"{median:.2f}", f"{max(rounds):.2f}")
        table.add_row(name, *figures, f"{median / base:.2f} x", f"{connections:.2f}")
    Console(width=120).print(table)


def _read(driver: Driver) -> None:
    with driver.session() as session:
        session.run("RETURN 1").consume()


async def _read_async(driver: AsyncDriver) -> None:
    async with driver.session() as session:
        await (await session.run("RETURN 1")).consume()


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
