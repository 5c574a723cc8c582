"""LightRAG's document status in Redis, for several workers on one Redis.

LightRAG keeps an index of the documents beside their rows, out of which it takes what is to be processed. When a
process finds rows and no index, it makes one out of the rows; a document that is stored meanwhile is missing there,
and never processed. LightRAG excludes that within one server. Here a worker on another machine may store the first
document of a workspace between the two looks, so rows are looked for first: each is written in one transaction with
its place in the index, so a row that is seen is in the index, unless that is really gone.
"""

from __future__ import annotations

from lightrag.base import DocStatus
from lightrag.kg import redis_impl

REBUILD_TIMEOUT = 120.0
"""Seconds one process may take to make the index; the others wait for it."""


class RedisDocStatusStorage(redis_impl.RedisDocStatusStorage):  # type: ignore[misc]  # LightRAG has no type information
    """LightRAG's storage of this name."""

    async def _rebuild_scheduling_sidecar(self) -> None:
        """Called when the storage is opened; makes the index if there is none."""
        async with self._get_redis_connection() as redis:
            if not await self._any_key(redis, f"{self.final_namespace}:*"):
                return
            index = [f"{self._sched_prefix}:status:{status.value}" for status in DocStatus]
            if await redis.exists(*index) and not await self._temp_keyspace_present(redis):
                return
            name = f"{self._sched_prefix}_rebuild_lock"
            async with redis.lock(name, timeout=REBUILD_TIMEOUT, blocking_timeout=REBUILD_TIMEOUT):
                await super()._rebuild_scheduling_sidecar()
