"""``business`` in a Celery worker: on the worker loop, and in loops that tasks make for themselves."""

from __future__ import annotations

import asyncio

from app_container import create_container
from tests.support import business
from tests.support.business_calls import Note, noted
from wiring.celery import async_task, setup
from wiring.celery.options import make_app

container = create_container(wire=[business])
app = make_app(container.settings().celery)
app.conf.include = []
setup(app, container)


@async_task(app, name="celery_worker_loop.learn")
async def learn(texts: list[str], workspace: str) -> Note:
    return noted(await business.learn(texts, workspace))


@async_task(app, name="celery_worker_loop.count_mentions")
async def count_mentions(workspace: str) -> Note:
    return noted(await business.count_mentions(workspace))


@app.task(name="celery_own_loops.learn")
def learn_in_a_loop(texts: list[str], workspace: str) -> Note:
    return noted(asyncio.run(business.learn(texts, workspace)))


@app.task(name="celery_own_loops.count_mentions")
def count_mentions_in_a_loop(workspace: str) -> Note:
    return noted(asyncio.run(business.count_mentions(workspace)))


@app.task(name="rank")
def rank(workspace: str) -> Note:
    return noted(business.rank(workspace))
