"""The tasks of a small application of one's own, for every pool; ``pool_worker.py`` is its entrypoint."""

from __future__ import annotations

import asyncio
import os

from dependency_injector.wiring import Provide, inject
from neo4j import AsyncDriver, Driver

from app_container import Container, create_container
from wiring.celery import async_task
from wiring.celery.options import make_app

app = make_app(create_container().settings().celery)


@app.task(name="plain")
@inject
def plain(driver: Driver = Provide[Container.driver]) -> int:
    """Query with the process's driver; returns the process."""
    driver.execute_query("RETURN 1")
    return os.getpid()


@async_task(app, name="on_the_loop")
@inject
async def on_the_loop(seconds: float, driver: AsyncDriver = Provide[Container.driver]) -> int:
    """Query with the worker loop's driver, before and after some seconds; returns the process."""
    await driver.execute_query("RETURN 1")
    await asyncio.sleep(seconds)
    await driver.execute_query("RETURN 1")
    return os.getpid()
