"""Writes to other storages than Neo4j, which a process leaves out when its lease has ended by its own clock.

They cannot compare a token in the same step. What remains is the moment between the look at the clock and the write.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from lightrag.base import DocStatus

from wiring.lightrag.leases.lease import held_lease

STORAGES = (
    "full_docs",
    "text_chunks",
    "full_entities",
    "full_relations",
    "entity_chunks",
    "relation_chunks",
    "llm_response_cache",
    "entities_vdb",
    "relationships_vdb",
    "chunks_vdb",
    "doc_status",
)
WRITES = (
    "upsert",
    "delete",
    "delete_entity",
    "delete_entity_relation",
    "update_doc_status_fields",
    "index_done_callback",
)


def guard_storages(rag: Any) -> None:
    """Let each write of LightRAG's storages look first whether the lease it works under is still held.

    Writes that work under no lease are left alone: who accepts a document stores it without one.

    Args:
        rag: a LightRAG.
    """
    for name in STORAGES:
        storage = getattr(rag, name)
        for write in WRITES:
            if method := getattr(storage, write, None):
                setattr(storage, write, _guarded(method))
    rag.doc_status.upsert = _counted(rag.doc_status.upsert)


def _guarded(write: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        if lease := held_lease():
            lease.check()
        return await write(*args, **kwargs)

    return guarded


def _counted(upsert: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def counted(data: dict[str, dict[str, Any]]) -> None:
        await upsert(data)
        if lease := held_lease():
            lease.drained += sum(row.get("status") == DocStatus.PROCESSED for row in data.values())

    return counted
