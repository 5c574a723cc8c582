"""A worker whose tasks do what figures tell of, for ``celery -A tests.support.measured_tasks worker``."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from neo4j.exceptions import DriverError

from app_container import create_container
from tests.support.waiting import until_here
from wiring.celery import async_task, setup
from wiring.celery.options import make_app
from wiring.testing.waiting import until

container = create_container()
app = make_app(container.settings().celery)
app.conf.include = []
setup(app, container)

PATIENCE = 60.0


@app.task(name="ask", shared=False)
def ask() -> int:
    """Query once with the process's driver; returns the process."""
    container.sync_driver().execute_query("RETURN 1")
    return os.getpid()


@app.task(name="lose", shared=False)
def lose() -> None:
    """Open a session, and never close it."""
    container.sync_driver().session()


@app.task(name="ask_in_a_loop", shared=False)
def ask_in_a_loop() -> None:
    """Query once with a driver of an event loop that ends."""

    async def query() -> None:
        await container.async_driver().execute_query("RETURN 1")

    asyncio.run(query())


@async_task(app, name="insert", shared=False)
async def insert(text: str) -> str:
    """Put a document into the graph; returns what became of it."""
    return str((await container.documents().insert(text))["status"])


@app.task(name="hold", shared=False)
def hold(sessions: int, mark: str, timeout: float = PATIENCE) -> list[str]:
    """Let sessions hold connections until the file ``mark`` is there: as many with the process's driver as on its loop.

    Args:
        sessions: how many of each at once.
        mark: the file.
        timeout: seconds they wait for a connection.

    Returns:
        What became of each.
    """
    loop = container.worker_loop()
    with ThreadPoolExecutor(2 * sessions) as threads:
        held: list[Future[str]] = []
        for _ in range(sessions):
            held.append(threads.submit(_hold, Path(mark), timeout))
            held.append(threads.submit(loop.run, _hold_on_the_loop(Path(mark), timeout)))
        return sorted(each.result() for each in held)


def _hold(mark: Path, timeout: float) -> str:
    try:
        with (
            container.sync_driver().session(connection_acquisition_timeout=timeout) as session,
            session.begin_transaction() as transaction,
        ):
            transaction.run("RETURN 1").consume()
            until(mark.exists, PATIENCE)
    except DriverError as error:
        return type(error).__name__
    return "held"


async def _hold_on_the_loop(mark: Path, timeout: float) -> str:  # noqa: ASYNC109 - it is the driver's
    try:
        async with (
            container.async_driver().session(connection_acquisition_timeout=timeout) as session,
            await session.begin_transaction() as transaction,
        ):
            await (await transaction.run("RETURN 1")).consume()
            await until_here(mark.exists, PATIENCE)
    except DriverError as error:
        return type(error).__name__
    return "held"


@app.task(name="block", shared=False)
def block(waiting: int, mark: str) -> None:
    """Block the worker loop until the file ``mark`` is there, while coroutines wait for their first turn.

    Args:
        waiting: how many wait.
        mark: the file.
    """
    loop = container.worker_loop()

    async def block_it() -> None:
        until(Path(mark).exists, PATIENCE)

    with ThreadPoolExecutor(1 + waiting) as threads:
        calls = [threads.submit(loop.run, block_it())]
        until(lambda: loop.active == 1)
        calls += [threads.submit(loop.run, asyncio.sleep(0)) for _ in range(waiting)]
        for call in calls:
            call.result(PATIENCE)
