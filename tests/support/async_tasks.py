"""A worker whose tasks are coroutines, for ``celery -A tests.support.async_tasks worker``."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import Task, chord, group
from celery.exceptions import SoftTimeLimitExceeded
from dependency_injector.wiring import Provide, inject
from neo4j import AsyncDriver
from neo4j.exceptions import ServiceUnavailable

from app_container import Container, create_container
from app_container.pools.in_use import connections_in_use
from wiring.celery import ReliableTask, async_task, setup
from wiring.celery.options import make_app

container = create_container()
app = make_app(container.settings().celery)
app.conf.include = ["tests.support.async_tasks"]
setup(app, container)

_log = logging.getLogger("tests.async_tasks")


@async_task(app, name="add", shared=False)
async def add(a: int, b: int = 1, *, c: int = 0) -> int:
    await asyncio.sleep(0)
    return a + b + c


@async_task(app, name="total", shared=False)
async def total(numbers: list[int]) -> int:
    return sum(numbers)


@async_task(app, name="who", shared=False, bind=True, max_retries=2, default_retry_delay=0)
async def who(self: Task[..., Any], suffix: str) -> list[Any]:
    """Who it is, after two tries; many of them run at once, with one worker loop."""
    _log.info("I am %s, try %d", self.request.id, self.request.retries)
    await asyncio.sleep(0.05)
    if self.request.retries < 2:
        raise self.retry()
    self.update_state(state="PROGRESS", meta={"done": 1})
    return [self.name, self.request.id, self.request.retries, suffix]


@async_task(
    app, name="flaky", shared=False, bind=True, autoretry_for=(KeyError,), retry_backoff=True, retry_jitter=False
)
async def flaky(self: Task[..., Any], tries: int) -> int:
    if self.request.retries < tries:
        raise KeyError("not yet")
    return self.request.retries


@async_task(app, name="away", shared=False, bind=True, base=ReliableTask)
async def away(self: Task[..., Any], tries: int) -> int:
    """Meets a server that is away, some times."""
    if self.request.retries < tries:
        raise ServiceUnavailable("the server is away")
    return self.request.retries


@async_task(app, name="stuck", shared=False)
@inject
async def stuck(mark: str, driver: AsyncDriver = Provide[Container.async_driver]) -> None:
    """Holds a connection until it is cancelled, and tells what its clean-up did."""
    try:
        async with driver.session() as session, await session.begin_transaction() as transaction:
            await transaction.run("RETURN 1")
            Path(f"{mark}.{os.getpid()}.held").touch()  # noqa: ASYNC240 - it is quick
            await asyncio.sleep(300)
    except asyncio.CancelledError:
        Path(f"{mark}.cancelled").touch()  # noqa: ASYNC240
        raise
    finally:
        Path(f"{mark}.ended").write_text(str(connections_in_use(driver)))  # noqa: ASYNC240


@app.task(name="stubborn", shared=False)
def stubborn(mark: str) -> None:
    """Takes no notice of its soft limit."""
    Path(f"{mark}.{os.getpid()}.held").touch()
    while True:
        with suppress(SoftTimeLimitExceeded):
            time.sleep(300)


@async_task(app, name="in_use", shared=False)
@inject
async def in_use(driver: AsyncDriver = Provide[Container.async_driver]) -> list[int]:
    """The process, and how many of its connections are in use, with none of this task's."""
    return [os.getpid(), connections_in_use(driver)]


@app.task(name="fan_out", bind=True, shared=False)
def fan_out(self: Task[..., Any], numbers: list[int]) -> Any:
    """A task that replaces itself by others."""
    raise self.replace(chord(group(add.s(number) for number in numbers), total.s()))
