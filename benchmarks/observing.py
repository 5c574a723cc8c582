"""What it costs a query that its pool is watched: ``python -m benchmarks.observing``, on a real Neo4j.

The same query goes through a driver of the container and one that nobody watches, in turns of a few milliseconds, so
that what disturbs the machine disturbs both. The ratio of neighbouring turns is the result.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from app_container.container import Container
from app_container.drivers import build_async_driver, build_sync_driver
from app_container.settings import Settings
from benchmarks.lifetimes import _read, _read_async
from wiring.local_neo4j import LocalNeo4j

TURNS, QUERIES = 400, 5


def main() -> None:
    local = LocalNeo4j(Path(".lightrag/bench-neo4j"))
    server = local.start()
    container = Container()
    container.config.from_dict(
        Settings.model_validate({"neo4j": {"uri": server.uri, "password": server.password}}).model_dump()
    )
    table = Table("a query", "µs: not watched", "watched", "ratio: lower quartile", "median", "upper quartile")
    try:
        with build_sync_driver(container.settings().neo4j) as bare:
            watched = container.sync_driver()
            table.add_row("sync driver", *_compare(lambda: _read(bare), lambda: _read(watched)))
        table.add_row("async driver, on a loop", *asyncio.run(_compare_async(container)))
        Console(width=140).print(table)
    finally:
        container.shutdown_resources()
        local.stop()


def _compare(bare: Callable[[], None], watched: Callable[[], None]) -> list[str]:
    def turn(query: Callable[[], None]) -> float:
        started = time.perf_counter()
        for _ in range(QUERIES):
            query()
        return (time.perf_counter() - started) / QUERIES * 1e6

    pairs = []
    for number in range(TURNS):
        order = (bare, watched) if number % 2 else (watched, bare)
        times = {query: turn(query) for query in order}
        pairs.append((times[bare], times[watched]))
    return _figures(pairs)


async def _compare_async(container: Container) -> list[str]:
    async def turn(driver: Any) -> float:
        started = time.perf_counter()
        for _ in range(QUERIES):
            await _read_async(driver)
        return (time.perf_counter() - started) / QUERIES * 1e6

    pairs = []
    watched = container.async_driver()
    async with build_async_driver(container.settings().neo4j) as bare:
        for number in range(TURNS):
            order = (bare, watched) if number % 2 else (watched, bare)
            times = {driver: await turn(driver) for driver in order}
            pairs.append((times[bare], times[watched]))
    return _figures(pairs)


def _figures(pairs: list[tuple[float, float]]) -> list[str]:
    pairs = pairs[TURNS // 10 :]  # the first ones warm the server up
    bare, watched = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = statistics.quantiles([mine / theirs for theirs, mine in pairs], n=4)
    return [f"{bare:.0f}", f"{watched:.0f}", *(f"{ratio:.3f}" for ratio in ratios)]


if __name__ == "__main__":
    main()
