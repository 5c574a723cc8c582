"""What it costs to find out where code runs: ``python -m benchmarks.detection``. Needs no Neo4j.

Inside Prefect it is asked in real runs, on a temporary Prefect server.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import timeit
from typing import Any

CALLS = 20_000


def microseconds() -> float:
    from app_container.execution import execution

    return min(timeit.repeat(execution, number=CALLS, repeat=5)) / CALLS * 1e6


async def on_a_loop() -> float:
    return microseconds()


def result_of(future: Any) -> Any:
    return future.result()


async def in_prefect() -> dict[str, float]:
    from prefect import flow, task

    @task
    async def ask() -> float:
        return microseconds()

    @task
    async def ask_within() -> float:
        return await ask()

    @flow
    async def asking() -> dict[str, float]:
        return {
            "in an async flow": microseconds(),
            "in a task that is awaited": await ask(),
            "in one that is awaited in another": await ask_within(),
            "in a task that was submitted": await asyncio.to_thread(result_of, ask.submit()),
        }

    return await asking()


def main() -> None:
    rows = {"in a thread": microseconds(), "on a loop": asyncio.run(on_a_loop())}
    import celery  # noqa: F401 - from here on it is looked at

    with tempfile.TemporaryDirectory() as home:
        os.environ |= {
            "PREFECT_HOME": home, "PREFECT_LOGGING_LEVEL": "CRITICAL", "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        }  # fmt: skip
        import prefect  # noqa: F401 - the same

        rows["on a loop, Celery and Prefect imported"] = asyncio.run(on_a_loop())
        rows |= asyncio.run(in_prefect())
    for name, cost in rows.items():
        print(f"{name:40} {cost:5.2f} µs")


if __name__ == "__main__":
    main()
