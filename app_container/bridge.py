"""The sync driver behind the surface of the async one, for coroutines on a loop that does not last.

It covers what LightRAG's ``Neo4JStorage`` uses. A query, or a whole managed transaction, is one hop to a thread; a
result is read completely in that hop, so nothing is left open on the connection afterwards.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from functools import partial, wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from app_container.bridge_threads import BridgeThreads

if TYPE_CHECKING:
    from neo4j import Driver, ManagedTransaction, Record, Result, ResultSummary, Session

T = TypeVar("T")

_NO_LOOP = "no running event loop"
"""What asyncio says to a transaction function that would wait: it runs in a thread without a loop."""


class BridgedDriver:
    """Looks like ``neo4j.AsyncDriver``, works with a ``neo4j.Driver``.

    Args:
        driver: the sync driver; it stays its owner's, and ``close`` does not close it.
        threads: where it is called.
    """

    def __init__(self, driver: Driver, threads: BridgeThreads) -> None:
        self.driver = driver
        self._threads = threads

    def session(self, **config: Any) -> BridgedSession:
        """Open a session; ``config`` is what ``Driver.session`` takes."""
        return BridgedSession(self.driver.session(**config), self._threads)

    async def verify_connectivity(self) -> None:
        """Check that the server answers; raises what the driver raises."""
        await self._threads.run(self.driver.verify_connectivity, abandon=lambda _: None)

    async def close(self) -> None:
        """Do nothing: the sync driver is shared by the process."""


class BridgedSession:
    """Looks like ``neo4j.AsyncSession``.

    A call that outlasts the patience of a cancelled caller closes the session when it ends, in its own thread, so that
    the connection does not stay in use.
    """

    def __init__(self, session: Session, threads: BridgeThreads) -> None:
        self._session = session
        self._threads = threads
        self._abandoned = False

    async def __aenter__(self) -> BridgedSession:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connection back."""
        if self._abandoned:
            return
        try:
            await self._in_thread(self._session.close)
        except BaseException:
            # A caller that is cancelled before a thread is free takes the call along.
            if not self._abandoned and self._session._connection is None:  # noqa: SLF001 - neo4j 6 has no public way
                self._session.close()  # nothing is sent
            raise

    async def run(self, query: Any, parameters: dict[str, Any] | None = None, **kwargs: Any) -> BridgedResult:
        """Run one auto-commit query and read its result completely."""
        return await self._in_thread(lambda: BridgedResult(self._session.run(query, parameters, **kwargs)))

    async def execute_read(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        """Run ``work(transaction, ...)`` in a managed read transaction, all of it in one thread."""
        return await self._in_thread(partial(self._session.execute_read, _without_waiting(work), *args, **kwargs))

    async def execute_write(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        """Run ``work(transaction, ...)`` in a managed write transaction, all of it in one thread."""
        return await self._in_thread(partial(self._session.execute_write, _without_waiting(work), *args, **kwargs))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await self._threads.run(call, self._abandon)

    def _abandon(self, call: Future[Any]) -> None:
        self._abandoned = True
        call.add_done_callback(lambda _: self._session.close())


class BridgedTransaction:
    """Looks like ``neo4j.AsyncManagedTransaction``; runs in the thread of its transaction, so it never waits."""

    def __init__(self, transaction: ManagedTransaction) -> None:
        self._transaction = transaction

    async def run(self, query: Any, parameters: dict[str, Any] | None = None, **kwargs: Any) -> BridgedResult:
        """Run one query of the transaction and read its result completely."""
        return BridgedResult(self._transaction.run(query, parameters, **kwargs))


class BridgedResult:
    """Looks like ``neo4j.AsyncResult``, over records that were read already.

    An error that came while they were read is raised where the async result raises it: by the first access that needs
    more than there is. Later ones say that the result has failed. That hides from the driver, and from LightRAG, an
    error that passes when they try again, so such an error is raised at once.
    """

    def __init__(self, result: Result) -> None:
        from neo4j.exceptions import DriverError, Neo4jError

        self._keys = result.keys()
        self._records: list[Record] = []
        self._position = 0
        self._summary: ResultSummary | None = None
        self._consumed = False
        self._error: Exception | None = None
        self._error_told = False
        try:
            self._records.extend(result)
            self._summary = result.consume()
        except (DriverError, Neo4jError) as error:
            if error.is_retryable():
                raise
            self._error = error

    def __aiter__(self) -> AsyncIterator[Record]:
        return self

    async def __anext__(self) -> Record:
        for record in self._take(1):
            return record
        raise StopAsyncIteration

    def keys(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self._keys)

    async def single(self, strict: bool = False) -> Record | None:  # noqa: FBT001, FBT002 - the driver's signature
        """The one record that is left, None if there is none; with ``strict``, exactly one or an error."""
        records = self._take_all()
        if strict and len(records) != 1:
            from neo4j.exceptions import ResultNotSingleError

            found = "More than one record found. " if records else "No records found. "
            raise ResultNotSingleError(self, found + "Make sure your query returns exactly one record.")
        if len(records) > 1:
            import warnings

            warnings.warn("Expected a result with a single record, but found multiple.", stacklevel=2)
        return records[0] if records else None

    async def fetch(self, n: int) -> list[Record]:
        """Up to ``n`` records that are left."""
        return self._take(n)

    async def data(self, *keys: int | str) -> list[dict[str, Any]]:
        """The records that are left, as dicts."""
        return [record.data(*keys) for record in self._take_all()]

    async def consume(self) -> ResultSummary:
        """Drop what is left and return the summary."""
        if self._summary is None:
            self._raise_error()
        self._consumed = True
        return self._summary

    def _take(self, n: int) -> list[Record]:
        if self._consumed:
            from neo4j.exceptions import ResultConsumedError

            raise ResultConsumedError(
                self, "The result has been consumed. Fetch all needed records before calling Result.consume()."
            )
        end = self._position + max(n, 0)
        if self._error is not None and (self._error_told or end > len(self._records)):
            self._raise_error()
        records = self._records[self._position : end]
        self._position += len(records)
        return records

    def _take_all(self) -> list[Record]:
        return self._take(len(self._records) + 1)

    def _raise_error(self) -> NoReturn:
        from neo4j.exceptions import ResultFailedError

        if self._error is not None and not self._error_told:
            self._error_told = True
            raise self._error
        raise ResultFailedError(
            self,
            "The result has failed. Either this result or another result in the same transaction has encountered an "
            "error.",
        ) from self._error


def _without_waiting(work: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., T]:
    """Turn a transaction function of the async driver into one of the sync driver."""

    @wraps(work)  # with the timeout and the metadata that neo4j.unit_of_work gave it
    def run(transaction: ManagedTransaction, *args: Any, **kwargs: Any) -> T:
        coroutine = work(BridgedTransaction(transaction), *args, **kwargs)
        cause: RuntimeError | None = None
        try:
            coroutine.send(None)
        except StopIteration as done:
            result: T = done.value
            return result
        except RuntimeError as error:
            if str(error) != _NO_LOOP:
                raise
            cause = error
        coroutine.close()
        raise RuntimeError(
            "a transaction function awaited something other than its transaction; use async_driver here"
        ) from cause

    return run
