"""The constraint that keeps an entity from being in a workspace twice.

LightRAG makes an index on ``entity_id``, which does not stop two processes from creating the same entity at the same
time. A uniqueness constraint does, and brings an index of its own. Neo4j refuses the constraint while LightRAG's index
is there, so the constraint comes first, and an index from earlier is dropped for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import shlex
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from app_container.drivers import build_async_driver
from app_container.errors import AppContainerError, describe

if TYPE_CHECKING:
    from app_container.settings import Settings

TIMEOUT = 120.0
"""Seconds that a start waits for the constraint; with 20,000 entities it takes 0.2."""

_log = logging.getLogger("wiring.lightrag")

_ALREADY_THERE = "Neo.ClientError.Schema.EquivalentSchemaRuleAlreadyExists"
_INDEX_IN_THE_WAY = "Neo.ClientError.Schema.IndexAlreadyExists"
_CREATION_FAILED = "Neo.DatabaseError.Schema.ConstraintCreationFailed"
_ATTEMPTS = 30
_LONGEST_PAUSE = 0.5


class OpensSessions(Protocol):
    """The part of an async driver that is used here; a sync driver behind the bridge has it too."""

    def session(self, *, database: str | None) -> AbstractAsyncContextManager[Any]:
        """Open a session on ``database``."""


class DuplicateEntitiesError(AppContainerError):
    """The graph holds an entity twice, so the constraint cannot be made."""


async def ensure_unique_entities(
    driver: OpensSessions, database: str | None, label: str, configured: str | None = None
) -> None:
    """Make the uniqueness constraint on ``(label, entity_id)``, unless it is there.

    Several processes may do this at the same time, and LightRAG may make its index meanwhile.

    Args:
        driver: an async driver, or a sync one behind the bridge.
        database: name of the database; None for the server's default.
        label: the label of the workspace's nodes, not escaped.
        configured: the workspace that the command would take by itself, if that is known here.

    Raises:
        DuplicateEntitiesError: entities are there twice, from before there was a constraint.
        AppContainerError: it takes more than ``TIMEOUT``.
    """
    async with _bounded("Neo4j", label):
        await _ensure_unique_entities(driver, database, label, configured)


async def _ensure_unique_entities(
    driver: OpensSessions, database: str | None, label: str, configured: str | None
) -> None:
    async with driver.session(database=database) as session:

        async def mend(error: Any) -> None:
            if error.code == _CREATION_FAILED:
                await _refuse_duplicates(session, database, label, configured)
            if error.code == _INDEX_IN_THE_WAY:
                await _drop_old_index(session, label)

        await make_unique(session, label, "entity_id", mend)


async def make_unique(
    session: Any, label: str, key: str, mend: Callable[[Any], Coroutine[Any, Any, None]] | None = None
) -> None:
    """Make the uniqueness constraint on ``(label, key)``; see ``make``."""
    await make(session, f"CREATE CONSTRAINT IF NOT EXISTS FOR (n:{quoted(label)}) REQUIRE n.{key} IS UNIQUE", mend)


async def make(
    session: Any, statement: str, mend: Callable[[Any], Coroutine[Any, Any, None]] | None = None, **parameters: Any
) -> None:
    """Make a constraint or an index, unless it is there; others may do so at the same time.

    Args:
        session: an async session, or a sync one behind the bridge.
        statement: ``CREATE ... IF NOT EXISTS ...``.
        mend: called with each error of the server, before the next try.
        parameters: of the statement.
    """
    from neo4j.exceptions import Neo4jError

    for attempt in range(_ATTEMPTS):
        try:
            await (await session.run(statement, parameters)).consume()
            return
        except Neo4jError as error:
            if error.code == _ALREADY_THERE:
                return
            failure = error
        try:
            if mend is not None:
                await mend(failure)
        except Neo4jError as error:
            if not _is_a_race(error):
                raise
        if attempt == _ATTEMPTS - 1 or not _is_a_race(failure):
            raise failure
        # Deadlocks, mostly: each process holds what another wants, so they must not come back all at once.
        await asyncio.sleep(random.uniform(0, min(_LONGEST_PAUSE, 0.02 * 2**attempt)))  # noqa: S311 - no secret


async def refuse_duplicates(
    driver: OpensSessions, database: str | None, label: str, configured: str | None = None
) -> None:
    """Look whether an entity is there twice, and change nothing; arguments are those of ``ensure_unique_entities``.

    Raises:
        DuplicateEntitiesError: entities are there twice.
    """
    async with driver.session(database=database) as session:
        await _refuse_duplicates(session, database, label, configured)


def make_constraint(settings: Settings, workspace: str) -> None:
    """Make the constraint of ``workspace`` with a driver of its own, closed again. Bounded in time.

    Raises:
        DuplicateEntitiesError: entities are there twice.
        AppContainerError: the server does not let us, or takes more than ``TIMEOUT``.
    """
    with_own_driver(settings, workspace, ensure_unique_entities)


def check_duplicates(settings: Settings) -> None:
    """Look for duplicates in the configured workspace as ``make_constraint`` would, and change nothing.

    Raises:
        DuplicateEntitiesError: entities are there twice.
        AppContainerError: the server does not let us, or takes more than ``TIMEOUT``.
    """
    with_own_driver(settings, settings.lightrag.workspace, refuse_duplicates)


def quoted(name: str) -> str:
    r"""A label or type as Cypher wants it, whatever is in it.

    Neo4j takes ``\uXXXX`` for a character also between backticks, where ``\u0060`` would end the name.
    """
    escaped = name.replace("\\", "\\u005c").replace("`", "``")
    return f"`{escaped}`"


def with_own_driver(settings: Settings, workspace: str, step: Callable[..., Coroutine[Any, Any, None]]) -> None:
    """Do ``step(driver, database, workspace, configured workspace)`` with a driver of its own. Bounded in time.

    Raises:
        AppContainerError: the server does not let us, or takes more than ``TIMEOUT``.
    """
    from neo4j.exceptions import DriverError, Neo4jError

    async def run() -> None:
        # An async driver, for only that can be interrupted when the server hangs.
        async with _bounded(server, workspace), build_async_driver(settings.neo4j) as driver:
            await step(driver, settings.neo4j.database, workspace, settings.lightrag.workspace)

    server = f"Neo4j at {settings.neo4j.uri}"
    try:
        asyncio.run(run())
    except (DriverError, Neo4jError, OSError) as error:
        raise AppContainerError(
            f"{server} refuses the constraint on workspace {workspace!r}: {describe(error)}"
        ) from None


@asynccontextmanager
async def _bounded(server: str, workspace: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(TIMEOUT):
            yield
    except TimeoutError:
        raise AppContainerError(
            f"{server} took more than {TIMEOUT:.0f} s for the constraint on workspace {workspace!r}; "
            "see what holds locks there (SHOW TRANSACTIONS)"
        ) from None


def _is_a_race(error: Any) -> bool:
    """Whether it can come from another process that makes or drops the same at the same time."""
    return str(error.code).startswith(("Neo.TransientError.", "Neo.ClientError.Schema.", "Neo.DatabaseError.Schema."))


async def _refuse_duplicates(session: Any, database: str | None, label: str, configured: str | None) -> None:
    found = await (await session.run(
        f"MATCH (n:{quoted(label)}) WITH n.entity_id AS name, count(*) AS nodes WHERE nodes > 1 AND name IS NOT NULL "
        "RETURN count(*) AS entities, min(toString(name)) AS example"
    )).single()  # fmt: skip
    if found["entities"]:
        option = "" if label == configured else f" --workspace {shlex.quote(label)}"
        raise DuplicateEntitiesError(
            f"workspace {label!r} in database {database!r} holds entities twice, from before there was a constraint: "
            f"{found['entities']} of them, such as entity_id = {found['example'][:80]!r}; "
            f"merge them: lightrag-neo4j repair{option}"
        )


async def _drop_old_index(session: Any, label: str) -> None:
    find = (
        "SHOW RANGE INDEXES YIELD name, labelsOrTypes, properties, owningConstraint "
        "WHERE labelsOrTypes = [$label] AND properties = ['entity_id'] AND owningConstraint IS NULL RETURN name"
    )
    rows = await (await session.run(find, label=label)).data()
    for row in rows:
        _log.info("replacing index %s of workspace %r by a uniqueness constraint", row["name"], label)
        await (await session.run(f"DROP INDEX {quoted(row['name'])} IF EXISTS")).consume()
