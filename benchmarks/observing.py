"""What it costs a query that its pool is watched: ``python -m benchmarks.observing``, on a real Neo4j.

The same query goes through a driver of the container and one that nobody watches, in turns of a few milliseconds, so
that what disturbs the machine disturbs both. Watching takes no time but the processor's, and that can be measured more
closely than how long a query takes: the result is the median of what neighbouring turns differ by, as a share of it.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from app_container.container import Container
from app_container.drivers import build_async_driver, build_sync_driver
from benchmarks.real_neo4j import container_on_a_real_neo4j, read, read_async

TURNS, QUERIES = 600, 10

Turn = tuple[float, float]
"""Microseconds of a query: by the clock, and of the processor."""


def main() -> None:
    table = Table("a query", "µs", "of the processor", "watched", "more", "share of a query")
    with container_on_a_real_neo4j() as container:
        with build_sync_driver(container.settings().neo4j) as bare:
            watched = container.sync_driver()
            table.add_row("sync driver", *_compare(lambda: read(bare), lambda: read(watched)))
        table.add_row("async driver, on a loop", *asyncio.run(_compare_async(container)))
    Console(width=140).print(table)


def _compare(bare: Callable[[], None], watched: Callable[[], None]) -> list[str]:
    def turn(query: Callable[[], None]) -> Turn:
        begun = _now()
        for _ in range(QUERIES):
            query()
        return _since(begun)

    pairs = []
    for number in range(TURNS):
        order = (bare, watched) if number % 2 else (watched, bare)
        turns = {query: turn(query) for query in order}
        pairs.append((turns[bare], turns[watched]))
    return _figures(pairs)


async def _compare_async(container: Container) -> list[str]:
    async def turn(driver: Any) -> Turn:
        begun = _now()
        for _ in range(QUERIES):
            await read_async(driver)
        return _since(begun)

    pairs = []
    watched = container.async_driver()
    async with build_async_driver(container.settings().neo4j) as bare:
        for number in range(TURNS):
            order = (bare, watched) if number % 2 else (watched, bare)
            turns = {driver: await turn(driver) for driver in order}
            pairs.append((turns[bare], turns[watched]))
    return _figures(pairs)


def _now() -> Turn:
    return time.perf_counter(), time.process_time()


def _since(begun: Turn) -> Turn:
    wall, processor = (after - before for after, before in zip(_now(), begun, strict=True))
    return wall / QUERIES * 1e6, processor / QUERIES * 1e6


def _figures(pairs: list[tuple[Turn, Turn]]) -> list[str]:
    pairs = pairs[TURNS // 10 :]  # the first ones warm the server up
    wall = statistics.median(bare[0] for bare, _ in pairs)
    bare_processor = statistics.median(bare[1] for bare, _ in pairs)
    watched_processor = statistics.median(watched[1] for _, watched in pairs)
    more = statistics.median(watched[1] - bare[1] for bare, watched in pairs)
    return [f"{wall:.0f}", f"{bare_processor:.0f}", f"{watched_processor:.0f}", f"{more:.1f}", f"{more / wall:.1%}"]


if __name__ == "__main__":
    main()
