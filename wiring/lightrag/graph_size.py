"""How large the graph of a workspace is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from neo4j import AsyncDriver


class GraphSize(NamedTuple):
    """What the graph of a workspace holds."""

    entities: int
    relations: int


def size_query(workspace: str) -> str:
    """The query whose one record has the counts ``entities`` and ``relations``.

    Args:
        workspace: its name, checked before: it becomes a part of the query.
    """
    return f"MATCH (n:`{workspace}`) RETURN count(n) AS entities, sum(COUNT {{(n)-->()}}) AS relations"


async def graph_size(driver: AsyncDriver, database: str | None, workspace: str) -> GraphSize:
    """Count what is in the graph of ``workspace``, whose name was checked before."""
    records, _, _ = await driver.execute_query(size_query(workspace), database_=database, routing_="r")
    return GraphSize(records[0]["entities"], records[0]["relations"])
