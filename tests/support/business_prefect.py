"""``business`` in Prefect's own tasks: awaited in an async flow, and submitted by a sync flow."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from app_container import create_container
from tests.support import business
from tests.support.business_calls import FIRST, SECOND, Note, noted

container = create_container(wire=[business])


@task(cache_policy=NO_CACHE)
async def learn(texts: list[str], workspace: str) -> Note:
    return noted(await business.learn(texts, workspace))


@task(cache_policy=NO_CACHE)
async def count_mentions(workspace: str) -> Note:
    return noted(await business.count_mentions(workspace))


@task(cache_policy=NO_CACHE)
def rank(workspace: str) -> Note:
    return noted(business.rank(workspace))


@flow
async def prefect_awaited(workspace: str) -> list[Note]:
    learned = [await learn(texts, workspace) for texts in (FIRST, SECOND)]
    return [*learned, await count_mentions(workspace), rank(workspace)]


@flow
def prefect_submitted(workspace: str) -> list[Any]:
    notes: list[Any] = [learn.submit(texts, workspace).result(timeout=120) for texts in (FIRST, SECOND)]
    return [*notes, *(each.submit(workspace).result(timeout=120) for each in (count_mentions, rank))]


if __name__ == "__main__":
    place, workspace = sys.argv[1:]
    awaited = place == "prefect_awaited"
    print(json.dumps(asyncio.run(prefect_awaited(workspace)) if awaited else prefect_submitted(workspace)))  # noqa: T201
