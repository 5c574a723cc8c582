"""Few connections at a time for one LightRAG, and a bound on what each transaction may take.

LightRAG merges entities with dozens of coroutines at once, and each opens a session, so a driver soon has 15 to 20
connections in every process. They bring nothing: one event loop keeps about four busy, measured by documents a second.

LightRAG sends no timeout with its queries, so one that waits for a lock which is never freed would wait for ever.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

from app_container.transient import passing_cause
from wiring.lightrag.leases.fenced_writes import fenced
from wiring.lightrag.leases.lease import held_lease

T = TypeVar("T")

SESSIONS_AT_ONCE = 4

_seen: contextvars.ContextVar[list[BaseException] | None] = contextvars.ContextVar("seen_errors", default=None)

_inside: contextvars.ContextVar[bool] = contextvars.ContextVar("inside_a_gated_session", default=False)


@contextmanager
def passing_errors() -> Iterator[list[BaseException]]:
    """Collects the errors that pass by themselves, of the sessions that are used in here.

    LightRAG catches them when it answers or deletes, and tells of a failure in words.
    """
    seen: list[BaseException] = []
    token = _seen.set(seen)
    try:
        yield seen
    finally:
        _seen.reset(token)


class Gate:
    """Lets ``SESSIONS_AT_ONCE`` sessions of each event loop be open; the others wait for their turn."""

    def __init__(self) -> None:
        self._turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            weakref.WeakKeyDictionary()
        )

    def turn(self) -> asyncio.Semaphore:
        """The semaphore of the running loop."""
        return self._turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(SESSIONS_AT_ONCE))


class GatedDriver:
    """Looks like the async driver, as far as LightRAG's storage uses it: it opens sessions.

    Args:
        driver: an async driver, or a sync one behind the bridge.
        gate: what its sessions wait at.
        transaction_timeout: seconds after which the server ends a transaction.
    """

    def __init__(self, driver: Any, gate: Gate, transaction_timeout: float) -> None:
        self._driver = driver
        self._gate = gate
        self._transaction_timeout = transaction_timeout

    def session(self, **config: Any) -> GatedSession:
        """A session, to be entered with ``async with``; ``config`` is what ``AsyncDriver.session`` takes."""
        return GatedSession(self._driver.session(**config), self._gate, self._transaction_timeout)


class GatedSession:
    """A session that waits for its turn on entering. One inside another, in the same task, does not wait again."""

    def __init__(self, session: Any, gate: Gate, transaction_timeout: float) -> None:
        self._session = session
        self._gate = gate
        self._transaction_timeout = transaction_timeout
        self._token: contextvars.Token[bool] | None = None

    async def __aenter__(self) -> Any:
        if not _inside.get():
            await self._gate.turn().acquire()
            self._token = _inside.set(True)
        try:
            return BoundedSession(await self._session.__aenter__(), self._transaction_timeout)
        except BaseException:
            self._leave()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and (seen := _seen.get()) is not None and passing_cause(error):
            seen.append(error)
        try:
            await self._session.__aexit__(kind, error, trace)
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._token is not None:
            _inside.reset(self._token)
            self._token = None
            self._gate.turn().release()


class BoundedSession:
    """A session, as far as LightRAG's storage uses it, whose transactions the server ends after a time.

    Args:
        session: an async session, or a sync one behind the bridge.
        timeout: seconds a transaction may take.
    """

    def __init__(self, session: Any, timeout: float) -> None:
        self._session = session
        self._timeout = timeout

    async def run(self, query: str, parameters: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        """Run one auto-commit query."""
        from neo4j import Query

        return await self._session.run(Query(query, timeout=self._timeout), parameters, **kwargs)

    async def execute_read(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        """Run ``work(transaction, ...)`` in a managed read transaction."""
        result: T = await self._session.execute_read(_bounded(work, self._timeout), *args, **kwargs)
        return result

    async def execute_write(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        """Run ``work(transaction, ...)`` in a managed write transaction, fenced if it works under a lease."""
        timeout = self._timeout
        if lease := held_lease():
            # Who takes over waits for it, so it must not take longer than that one would wait anyhow.
            work, timeout = fenced(work, lease), min(timeout, lease.term)
        result: T = await self._session.execute_write(_bounded(work, timeout), *args, **kwargs)
        return result


def _bounded(work: Callable[..., Coroutine[Any, Any, T]], timeout: float) -> Callable[..., Coroutine[Any, Any, T]]:
    from neo4j import unit_of_work

    return unit_of_work(timeout=timeout)(work)
