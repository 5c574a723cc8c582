"""Which full-text index is a workspace's: the one on its label, whatever its name.

LightRAG looks for the index by a name, in which everything but ASCII letters, digits and '_' is replaced. So ``a-b``
and ``a_b`` have the same name, and the workspace that comes second searches the other's index and finds nothing. Here
an index that is there is used, and a new one gets LightRAG's name only where that is no other workspace's, too.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from wiring.lightrag.schema import OpensSessions

# LightRAG takes it for one from before there were workspaces, and drops it.
_NO_WORKSPACES = "entity_id_fulltext_idx"


class FoundIndex(NamedTuple):
    """The index on a workspace's label."""

    name: str
    usable: bool
    """Not if it failed; one that is still being filled will be."""


async def find_index(driver: OpensSessions, database: str | None, label: str) -> FoundIndex | None:
    """Find the full-text index of the workspace whose nodes have ``label``, not escaped."""
    query = (
        "SHOW FULLTEXT INDEXES YIELD name, state, labelsOrTypes, properties "
        "WHERE labelsOrTypes = [$label] AND properties = ['entity_id'] AND name <> $no_workspaces "
        "RETURN name, state <> 'FAILED' AS usable ORDER BY usable DESC, name"
    )
    rows = await _rows(driver, database, query, label=label, no_workspaces=_NO_WORKSPACES)
    return FoundIndex(**rows[0]) if rows else None


async def is_taken(driver: OpensSessions, database: str | None, name: str) -> bool:
    """Whether there is an index of that name, on whatever."""
    return bool(await _rows(driver, database, "SHOW INDEXES YIELD name WHERE name = $name RETURN name", name=name))


def own_name(name: str, label: str) -> str:
    """A name for the index on ``label`` that is like LightRAG's ``name`` for it, and is no other workspace's.

    LightRAG's names never end in '_', so it is not what LightRAG would call the index of another workspace, either.
    """
    return f"{name}_{hashlib.sha256(label.encode()).hexdigest()[:12]}_"


async def _rows(driver: OpensSessions, database: str | None, query: str, **parameters: Any) -> list[dict[str, Any]]:
    async with driver.session(database=database) as session:
        result = await session.run(query, parameters)
        rows: list[dict[str, Any]] = await result.data()
        await result.consume()
        return rows
