"""The sync driver behind the surface of the async one, for coroutines on a loop that does not last.

It covers what LightRAG's ``Neo4JStorage`` uses. A query, or a whole managed transaction, is one hop to a thread; a
result is read completely in that hop, so nothing is left open on the connection afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from neo4j import Driver, ManagedTransaction, Record, Result, ResultSummary, Session

T = TypeVar("T")


class BridgedDriver:
    """Looks like ``neo4j.AsyncDriver``, works with a ``neo4j.Driver``.

    Args:
        driver: the sync driver; it stays its owner's, and ``close`` does not close it.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def session(self, **config: Any) -> BridgedSession:
        """Open a session; ``config`` is what ``Driver.session`` takes."""
        return BridgedSession(self._driver.session(**config))

    async def verify_connectivity(self) -> None:
        """Check that the server answers; raises what the driver raises."""
        await _in_thread(self._driver.verify_connectivity)

    async def close(self) -> None:
        """Do nothing: the sync driver is shared by the process."""


class BridgedSession:
    """Looks like ``neo4j.AsyncSession``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def __aenter__(self) -> BridgedSession:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connection back."""
        await _in_thread(self._session.close)

    async def run(self, query: Any, parameters: dict[str, Any] | None = None, **kwargs: Any) -> BridgedResult:
        """Run one auto-commit query and read its result completely."""
        return await _in_thread(lambda: BridgedResult(self._session.run(query, parameters, **kwargs)))

    async def execute_read(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        """Run ``work(transaction, ...)`` in a managed read transaction, all of it in one thread."""
        return await _in_thread(partial(self._session.execute_read, _without_waiting(work), *args, **kwargs))

    async def execute_write(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        """Run ``work(transaction, ...)`` in a managed write transaction, all of it in one thread."""
        return await _in_thread(partial(self._session.execute_write, _without_waiting(work), *args, **kwargs))


class BridgedTransaction:
    """Looks like ``neo4j.AsyncManagedTransaction``; runs in the thread of its transaction, so it never waits."""

    def __init__(self, transaction: ManagedTransaction) -> None:
        self._transaction = transaction

    async def run(self, query: Any, parameters: dict[str, Any] | None = None, **kwargs: Any) -> BridgedResult:
        """Run one query of the transaction and read its result completely."""
        return BridgedResult(self._transaction.run(query, parameters, **kwargs))


class BridgedResult:
    """Looks like ``neo4j.AsyncResult``, over records that were read already."""

    def __init__(self, result: Result) -> None:
        self._keys = result.keys()
        self._records = list(result)
        self._summary = result.consume()
        self._position = 0

    def __aiter__(self) -> AsyncIterator[Record]:
        return self

    async def __anext__(self) -> Record:
        if self._position == len(self._records):
            raise StopAsyncIteration
        self._position += 1
        return self._records[self._position - 1]

    def keys(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self._keys)

    async def single(self, strict: bool = False) -> Record | None:  # noqa: FBT001, FBT002 - the driver's signature
        """The one record that is left, None if there is none; with ``strict``, exactly one or an error."""
        records = await self.fetch(len(self._records))
        if strict and len(records) != 1:
            from neo4j.exceptions import ResultNotSingleError

            raise ResultNotSingleError(self, f"expected exactly one record, found {len(records)}")
        return records[0] if records else None

    async def fetch(self, n: int) -> list[Record]:
        """Up to ``n`` records that are left."""
        records = self._records[self._position : self._position + n]
        self._position += len(records)
        return records

    async def data(self, *keys: int | str) -> list[dict[str, Any]]:
        """The records that are left, as dicts."""
        return [record.data(*keys) for record in await self.fetch(len(self._records))]

    async def consume(self) -> ResultSummary:
        """Drop what is left and return the summary."""
        self._position = len(self._records)
        return self._summary


def _without_waiting(work: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., T]:
    """Turn a transaction function of the async driver into one of the sync driver."""

    def run(transaction: ManagedTransaction, *args: Any, **kwargs: Any) -> T:
        coroutine = work(BridgedTransaction(transaction), *args, **kwargs)
        try:
            coroutine.send(None)
        except StopIteration as done:
            result: T = done.value
            return result
        coroutine.close()
        raise RuntimeError("a transaction function awaited something other than its transaction; use async_driver here")

    return run


async def _in_thread(call: Callable[[], T]) -> T:
    """Run ``call`` in a thread; a cancelled caller waits for its end, for the session must not be used by two."""
    future = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
