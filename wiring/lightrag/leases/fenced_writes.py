"""Writes to Neo4j that the server refuses when the writer's lease is another's by now.

Each transaction begins by locking one of the workspace's fences and comparing the token that is there. Whoever takes
the lease writes its token to all fences, which waits for the transactions that have one locked. So a transaction comes
before the next holder's first look at the graph, or it does nothing, however long its client was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from wiring.lightrag.leases.lease import Lease

T = TypeVar("T")

_FENCE = """
MATCH (own_fence:LightRAGFence {key: $own_fence}) SET own_fence.lock = true
WITH own_fence WHERE own_fence.token = $own_token SET own_fence.lock = true
WITH 1 AS is_held
"""
"""The lock is taken before the token is read. Put before a query, it lets that do nothing when the token is another."""

_PROPERTIES_SET = 2
"""... by the above, when the token is the same."""


def fenced(work: Callable[..., Coroutine[Any, Any, T]], lease: Lease) -> Callable[..., Coroutine[Any, Any, T]]:
    """``work``, which is given a transaction that writes only under ``lease``.

    Raises:
        LeaseLostError: from the returned function; nothing was written.
    """

    async def run(transaction: Any, *args: Any, **kwargs: Any) -> T:
        lease.check()
        own = _FencedTransaction(transaction, lease)
        result = await work(own, *args, **kwargs)
        await own.check()
        return result

    return run


class _FencedTransaction:
    def __init__(self, transaction: Any, lease: Lease) -> None:
        self._transaction = transaction
        self._lease = lease
        self._first: Any = None

    async def run(self, query: str, parameters: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        if self._first is not None:
            return await self._transaction.run(query, parameters, **kwargs)
        own = {"own_fence": self._lease.fence(), "own_token": self._lease.token}
        self._first = await self._transaction.run(_FENCE + query, parameters, **kwargs, **own)
        return self._first

    async def check(self) -> None:
        if self._first is not None and (await self._first.consume()).counters.properties_set < _PROPERTIES_SET:
            self._lease.lose()
