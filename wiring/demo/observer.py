"""What the server sees of a demo."""

from __future__ import annotations

from typing import Any

from neo4j import Driver

from app_container import Container
from app_container.drivers import open_sync_driver
from wiring.lightrag.graph_size import GraphSize, size_query


class Observer:
    """Sees from the server's side what the workers do. Its own connection is not counted.

    Args:
        container: says where the server is.
    """

    def __init__(self, container: Container) -> None:
        self._settings = container.settings().neo4j

    def __enter__(self) -> Observer:
        self._driver = self._connect()
        self._first = self._newest_connection()
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.close()

    def graph_size(self, workspace: str) -> GraphSize:
        """Entities and relations of a workspace."""
        record = self._query(size_query(workspace))[0]
        return GraphSize(record["entities"], record["relations"])

    def differences(self, workspace: str, other: str) -> int | None:
        """How many entities and relations are in one workspace only, or have other sources there.

        Returns:
            None if the other workspace is empty.
        """
        mine, others = self._sources(workspace), self._sources(other)
        return len(mine ^ others) if others else None

    def connections_opened(self) -> int:
        """Connections the server has accepted since this began: it numbers them."""
        return self._newest_connection() - self._first - 1

    def connections_now(self) -> int:
        """Connections to the server at this moment."""
        return len(self._query("CALL dbms.listConnections() YIELD connectionId")) - 1

    def _sources(self, workspace: str) -> set[tuple[frozenset[str], frozenset[str]]]:
        """Of each entity its name, of each relation those of its ends, with the chunks it was found in."""
        found = self._query(f"MATCH (n:`{workspace}`) RETURN [n.entity_id] AS names, n.source_id AS sources")
        found += self._query(
            f"MATCH (n:`{workspace}`)-[r]->(m) RETURN [n.entity_id, m.entity_id] AS names, r.source_id AS sources"
        )
        return {(frozenset(row["names"]), frozenset((row["sources"] or "").split("<SEP>"))) for row in found}

    def _newest_connection(self) -> int:
        with self._connect() as driver, driver.session() as session:
            ids = session.run("CALL dbms.listConnections() YIELD connectionId").value()
        return max(int(name.rpartition("-")[2]) for name in ids)

    def _connect(self) -> Driver:
        return open_sync_driver(self._settings, max_connection_pool_size=1)

    def _query(self, query: str) -> list[Any]:
        records, _, _ = self._driver.execute_query(query, database_=self._settings.database)
        return list(records)
