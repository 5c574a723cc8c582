"""``business`` without a framework: in ``asyncio.run``, and in threads."""

from __future__ import annotations

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor

from app_container import create_container
from tests.support import business
from tests.support.business_calls import FIRST, SECOND, Note, noted

container = create_container(wire=[business])


async def learn_and_count(workspace: str) -> list[Note]:
    learned = [noted(await business.learn(texts, workspace)) for texts in (FIRST, SECOND)]
    return [*learned, noted(await business.count_mentions(workspace))]


def asyncio_run(workspace: str) -> list[Note]:
    return [*asyncio.run(learn_and_count(workspace)), noted(business.rank(workspace))]


def threads(workspace: str) -> list[Note]:
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as another:
        notes = one.submit(asyncio.run, learn_and_count(workspace)).result()
        return [*notes, another.submit(lambda: noted(business.rank(workspace))).result()]


if __name__ == "__main__":
    place, workspace = sys.argv[1:]
    print(json.dumps({"asyncio_run": asyncio_run, "threads": threads}[place](workspace)))  # noqa: T201
