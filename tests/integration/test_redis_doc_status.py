"""Several machines open the document status in one Redis: no document is missing from what is to be processed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from lightrag.base import CURSOR_START, DocStatus
from lightrag.kg import redis_impl, shared_storage

from tests.support.brokers import BROKERS
from wiring.lightrag.redis_doc_status import RedisDocStatusStorage
from wiring.testing.fixtures import forget_shared_state

Look = Callable[[Any, Any, str], Coroutine[Any, Any, bool]]


@pytest.fixture
def on_one_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    broker = BROKERS["redis"](tmp_path)
    broker.start()
    monkeypatch.setenv("REDIS_URI", broker.url)
    # On another machine it is another lock.
    monkeypatch.setattr(redis_impl, "get_data_init_lock", asyncio.Lock)
    shared_storage.initialize_share_data()
    yield
    forget_shared_state()
    broker.close()


def storage(workspace: str = "test") -> Any:
    made: Any = RedisDocStatusStorage  # a dataclass of LightRAG's, without type information
    return made(namespace="doc_status", workspace=workspace, global_config={}, embedding_func=None)


def rows(count: int) -> dict[str, dict[str, Any]]:
    row = {"status": DocStatus.PENDING, "created_at": "2026-11-01T00:00:00+00:00", "updated_at": "", "metadata": {}}
    return {
        f"doc{n}": {**row, "file_path": f"{n}.md", "content_summary": "", "content_length": 1} for n in range(count)
    }


async def pending(doc_status: Any) -> set[str]:
    page = await doc_status.get_docs_by_statuses_page(
        [DocStatus.PENDING], limit=5000, position=CURSOR_START, strict=True
    )
    return set(page.docs)


@pytest.mark.usefixtures("on_one_redis")
def test_a_document_that_is_stored_while_another_machine_opens_the_workspace_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look: Look = RedisDocStatusStorage._any_key

    async def run(moment: int) -> set[str]:
        """The document is stored after so many looks for keys."""
        first, second = storage(f"test{moment}"), storage(f"test{moment}")
        await first.initialize()
        looks = 0

        async def look_and_store(self: Any, redis: Any, pattern: str) -> bool:
            nonlocal looks
            found = await look(self, redis, pattern)
            looks += 1
            if looks == moment:
                await first.upsert(rows(1))
            return found

        with monkeypatch.context() as patch:
            patch.setattr(RedisDocStatusStorage, "_any_key", look_and_store)
            await second.initialize()
        if looks < moment:
            await first.upsert(rows(1))
        found = await pending(second)
        await first.finalize()
        await second.finalize()
        return found

    for moment in range(1, 7):
        assert asyncio.run(run(moment)) == {"doc0"}


@pytest.mark.usefixtures("on_one_redis")
def test_an_index_that_is_gone_is_made_again_by_one_of_the_machines() -> None:
    async def run() -> set[str]:
        first, *others = (storage() for _ in range(4))
        await first.initialize()
        await first.upsert(rows(3000))
        async with first._get_redis_connection() as redis:
            await redis.delete(*[key async for key in redis.scan_iter("test_doc_status__sched:*", count=1000)])

        async def open_after(seconds: float, other: Any) -> None:
            await asyncio.sleep(seconds)
            await other.initialize()

        await asyncio.gather(*(open_after(n * 0.05, other) for n, other in enumerate(others)))
        found = await pending(first)
        for each in (first, *others):
            await each.finalize()
        return found

    assert asyncio.run(run()) == set(rows(3000))
