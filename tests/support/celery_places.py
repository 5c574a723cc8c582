"""A Celery worker whose tasks ask for a driver."""

from __future__ import annotations

import asyncio

from tests.support.places import Answer, ask, ask_async, container_for
from wiring.celery import async_task, setup
from wiring.celery.options import make_app

app = make_app(container_for("async_task").settings().celery)
app.conf.include = []
for name in ("plain", "own_loop", "async_task"):  # async_task asks the last one for the worker loop
    setup(app, container_for(name))


@app.task(name="plain")
def plain() -> Answer:
    return ask("plain")


@app.task(name="own_loop")
def own_loop() -> Answer:
    return asyncio.run(ask_async("own_loop"))


@async_task(app, name="async_task")
async def on_the_worker_loop() -> Answer:
    return await ask_async("async_task")
