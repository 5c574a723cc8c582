"""What of LightRAG's schema is there for a workspace: a look that changes nothing, and does not import LightRAG."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from wiring.lightrag.fulltext import find_index
from wiring.lightrag.schema import OpensSessions

if TYPE_CHECKING:
    from app_container.health import SchemaLook


def schema_look(workspace: str) -> SchemaLook | None:
    """What looks at the schema of ``workspace``; None where LightRAG is not installed, for then there is none to be.

    It tells whether there is ``unique_entities``, the constraint without which processes make the same entity twice,
    ``entity_index``, by which entities are found by name, be it the constraint's or LightRAG's own, and
    ``fulltext_index``, by which they are searched.
    """
    if importlib.util.find_spec("lightrag") is None:
        return None

    async def look(driver: OpensSessions, database: str) -> dict[str, bool]:
        async with driver.session(database=database) as session:
            indexes = await session.run(
                "SHOW RANGE INDEXES YIELD labelsOrTypes, properties, owningConstraint "
                "WHERE labelsOrTypes = [$label] AND properties = ['entity_id'] "
                "RETURN owningConstraint IS NOT NULL AS unique",
                label=workspace,
            )
            unique = [row["unique"] for row in await indexes.data()]
        fulltext = await find_index(driver, database, workspace)
        return {
            "unique_entities": any(unique),
            "entity_index": bool(unique),
            "fulltext_index": fulltext is not None and fulltext.usable,
        }

    return look
