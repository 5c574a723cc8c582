"""The constraint that keeps an entity from being in a workspace twice.

LightRAG makes an index on ``entity_id``, which does not stop two processes from creating the same entity at the same
time. A uniqueness constraint does, and brings an index of its own. Neo4j refuses the constraint while LightRAG's index
is there, so the constraint comes first, and an index from earlier is dropped for it.
"""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from app_container.errors import AppContainerError

_log = logging.getLogger("wiring.lightrag")

_INDEX_IN_THE_WAY = "Neo.ClientError.Schema.IndexAlreadyExists"
_ALREADY_THERE = "Neo.ClientError.Schema.EquivalentSchemaRuleAlreadyExists"
_DUPLICATES = "Neo.DatabaseError.Schema.ConstraintCreationFailed"
_ATTEMPTS = 5


class OpensSessions(Protocol):
    """The part of an async driver that is used here; a sync driver behind the bridge has it too."""

    def session(self, *, database: str | None) -> AbstractAsyncContextManager[Any]:
        """Open a session on ``database``."""


class DuplicateEntitiesError(AppContainerError):
    """The graph holds an entity twice, so the constraint cannot be made."""


async def ensure_unique_entities(driver: OpensSessions, database: str | None, label: str) -> None:
    """Make the uniqueness constraint on ``(label, entity_id)``, unless it is there.

    Several processes may do this at the same time.

    Args:
        driver: an async driver, or a sync one behind the bridge.
        database: name of the database; None for the server's default.
        label: the label of the workspace's nodes, not escaped.

    Raises:
        DuplicateEntitiesError: entities are there twice, from before there was a constraint.
    """
    from neo4j.exceptions import DatabaseError, Neo4jError

    quoted = label.replace("`", "``")
    statement = f"CREATE CONSTRAINT IF NOT EXISTS FOR (n:`{quoted}`) REQUIRE n.entity_id IS UNIQUE"
    async with driver.session(database=database) as session:
        for attempt in range(_ATTEMPTS):
            try:
                await (await session.run(statement)).consume()
            except (Neo4jError, DatabaseError) as error:
                if error.code == _ALREADY_THERE:
                    return
                if error.code == _DUPLICATES:
                    example = " ".join((error.message or "").split()).partition("Both ")[2]
                    raise DuplicateEntitiesError(
                        f"workspace {label!r} in database {database!r} holds entities twice, from before there was a "
                        f"constraint: {example or error.message}; delete or merge them, then start again"
                    ) from None
                # Another process may have made the index again, or the constraint, between the two statements.
                if error.code != _INDEX_IN_THE_WAY or attempt == _ATTEMPTS - 1:
                    raise
                await _drop_old_index(session, label)
            else:
                return


async def _drop_old_index(session: Any, label: str) -> None:
    find = (
        "SHOW RANGE INDEXES YIELD name, labelsOrTypes, properties, owningConstraint "
        "WHERE labelsOrTypes = [$label] AND properties = ['entity_id'] AND owningConstraint IS NULL RETURN name"
    )
    rows = await (await session.run(find, label=label)).data()
    for row in rows:
        _log.info("replacing index %s of workspace %r by a uniqueness constraint", row["name"], label)
        name = row["name"].replace("`", "``")
        await (await session.run(f"DROP INDEX `{name}` IF EXISTS")).consume()
