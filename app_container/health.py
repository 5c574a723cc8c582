"""Health: can this process use the server, and is the process itself alive?

Two questions, for they call for different deeds. A process that is not *ready* gets no work until it is; one that is
not *live* is ended and replaced, which would not help against a server that is away. So ``live`` never asks the server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app_container.asking import ask, without_a_loop
from app_container.drivers import build_asking_driver, why_unavailable

if TYPE_CHECKING:
    from neo4j import AsyncDriver

    from app_container.lifetimes import ProcessSingleton
    from app_container.settings import Neo4jSettings
    from app_container.worker_loop import WorkerLoop

SchemaLook = Callable[["AsyncDriver", str], Awaitable[Mapping[str, bool]]]
"""Tells of each part of a schema whether it is there, in the database of that name."""

_NO_DATABASE = "Neo.ClientError.Database.DatabaseNotFound"


@dataclass(frozen=True, slots=True)
class Readiness:
    """What one look at the server found; None is what it did not get to know.

    Args:
        ready: whether the configured database answers queries.
        reason: one line why not, and what to do.
        database: name of the configured database.
        last_success: when this process last found the server ready (ISO 8601, UTC).
        server: name and version, e.g. ``Neo4j/5.26.20``.
        edition: ``community`` or ``enterprise``.
        connect_ms: how long the first query took, for which a connection was opened.
        latency_ms: how long the next one took, on the open connection.
        database_exists: whether there is a database of that name.
        schema: what of LightRAG's schema is there, for the configured workspace. It does not count for ``ready``: the
            first process that works on a workspace makes it, so who waited for it would wait for ever.
    """

    ready: bool
    reason: str | None
    database: str
    last_success: str | None
    database_exists: bool | None = None
    server: str | None = None
    edition: str | None = None
    connect_ms: float | None = None
    latency_ms: float | None = None
    schema: Mapping[str, bool] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Liveness:
    """Whether this process still works.

    Args:
        live: whether it does.
        reason: one line why not.
    """

    live: bool
    reason: str | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Health:
    """Answers both questions within ``neo4j.check_timeout`` seconds, whatever the server or the worker loop does.

    Each question has two forms: one to await on an event loop, and one for plain threads, which ends in ``_sync``.

    Args:
        settings: which server, and the bound.
        worker_loop: the provider of the process's worker loop, which is not started for this.
        schema: looks at a schema in the server; None if there is none to look at.
    """

    def __init__(
        self, settings: Neo4jSettings, worker_loop: ProcessSingleton[WorkerLoop], schema: SchemaLook | None
    ) -> None:
        self._settings = settings
        self._worker_loop = worker_loop
        self._schema = schema
        self._last_success: str | None = None

    async def ready(self) -> Readiness:
        """Ask the server with a driver of its own, so that a pool that is used up does not count."""
        found: dict[str, Any] = {}
        try:
            await ask(
                lambda: build_asking_driver(self._settings),
                lambda driver: self._look(driver, found),
                self._settings.check_timeout,
            )
        except Exception as error:
            reason = why_unavailable(self._settings, error)
            if reason is None:
                raise
            if getattr(error, "code", None) == _NO_DATABASE:
                found["database_exists"] = False
            return self._readiness(reason, found)
        self._last_success = datetime.now(UTC).isoformat(timespec="milliseconds")
        return self._readiness(None, found)

    def ready_sync(self) -> Readiness:
        """The same for plain threads; where an event loop runs, it would stop meanwhile."""
        try:
            return without_a_loop(self.ready, self._settings.check_timeout)
        except TimeoutError as error:
            return self._readiness(why_unavailable(self._settings, error), {})

    async def live(self) -> Liveness:
        """See whether the worker loop takes a turn, if it was started. The server is not asked."""
        turn = self._turn()
        if not turn.done():
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(turn), self._settings.check_timeout)
        return self._liveness(turn)

    def live_sync(self) -> Liveness:
        """The same for plain threads."""
        turn = self._turn()
        wait([turn], self._settings.check_timeout)
        return self._liveness(turn)

    def _turn(self) -> Future[None]:
        if self._worker_loop.initialized:
            return self._worker_loop().next_turn()
        turn: Future[None] = Future()
        turn.set_result(None)
        return turn

    def _liveness(self, turn: Future[None]) -> Liveness:
        if turn.cancel():  # what was not done until now
            reason = f"the worker loop took no turn within {self._settings.check_timeout:g} s, so something blocks it"
            return Liveness(live=False, reason=reason)
        error = turn.exception()
        return Liveness(live=error is None, reason=None if error is None else str(error))

    async def _look(self, driver: AsyncDriver, found: dict[str, Any]) -> None:
        """Put into ``found`` what the server tells, and leave out what it refuses to tell."""
        from neo4j.exceptions import ClientError

        database = self._settings.database
        async with driver.session(database=database) as session:
            started = time.monotonic()
            summary = await (await session.run("RETURN 1")).consume()
            found |= {"connect_ms": _ms_since(started), "server": str(summary.server.agent), "database_exists": True}
            started = time.monotonic()
            await (await session.run("RETURN 1")).consume()
            found["latency_ms"] = _ms_since(started)
            with suppress(ClientError):
                components = await session.run("CALL dbms.components() YIELD edition RETURN edition")
                found["edition"] = (await components.data())[0]["edition"]
        if self._schema is not None:
            with suppress(ClientError):
                found["schema"] = await self._schema(driver, database)

    def _readiness(self, reason: str | None, found: dict[str, Any]) -> Readiness:
        success = self._last_success
        return Readiness(reason is None, reason, self._settings.database, last_success=success, **found)


def _ms_since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)
