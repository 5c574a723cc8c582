"""A Neo4j that runs, and what it says of its connections."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from wiring.testing.waiting import until

OUR_AGENT = "lightrag-neo4j-wiring/"
CLOSE_TIMEOUT = 10.0


class ConnectionsLeftError(AssertionError):
    """Connections are open that should have been closed."""


@dataclass(frozen=True)
class Neo4jServer:
    """A server that runs, seen from outside of what is tested.

    Args:
        uri: where it is.
        username: who logs in.
        password: with what.
        log: gives the last lines of its log; None where that cannot be read.
    """

    uri: str
    username: str
    password: str = field(repr=False)
    log: Callable[[], str] | None = field(default=None, repr=False, compare=False)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that tell a process of it."""
        return {"NEO4J_URI": self.uri, "NEO4J_USERNAME": self.username, "NEO4J_PASSWORD": self.password}

    def query(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a query, by a driver of its own that is closed again."""
        from neo4j import GraphDatabase

        with GraphDatabase.driver(self.uri, auth=(self.username, self.password)) as driver:
            records, _, _ = driver.execute_query(query, parameters)
            return [record.data() for record in records]

    def verify(self) -> None:
        """Raise what the driver raises, within some seconds, if the server does not answer."""
        from neo4j import GraphDatabase

        with GraphDatabase.driver(
            self.uri, auth=(self.username, self.password), connection_timeout=5, connection_acquisition_timeout=5
        ) as driver:
            driver.verify_connectivity()

    def our_connections(self) -> list[str]:
        """Ids of the connections of this project's drivers, as the server sees them; one just made has no name yet."""
        rows = self.query("CALL dbms.listConnections() YIELD connectionId, userAgent")
        return [row["connectionId"] for row in rows if (row["userAgent"] or "").startswith(OUR_AGENT)]

    def until_no_connection_is_left(self, besides: Collection[str] = (), seconds: float = CLOSE_TIMEOUT) -> None:
        """Wait until the connections of this project's drivers are closed.

        Args:
            besides: ids of those that may stay.
            seconds: how long that may take.

        Raises:
            ConnectionsLeftError: some are still there; the message tells of each.
        """

        def are_closed() -> bool:
            return set(besides).issuperset(self.our_connections())

        try:
            until(are_closed, seconds)
        except TimeoutError:
            left = sorted(set(self.our_connections()) - set(besides))
            raise ConnectionsLeftError(
                f"{len(left)} connections to Neo4j were left open: {', '.join(left)}. Close the driver they belong to; "
                f"container.shutdown_resources() closes those of a container. The server has\n{self._connections()}"
            ) from None

    def _connections(self) -> str:
        """One line for each: since when it is there, from where, whose it is, and what it does."""
        rows = self.query("CALL dbms.listConnections() YIELD connectionId, connectTime, clientAddress, userAgent")
        running = {
            row["connectionId"]: row["currentQuery"]
            for row in self.query("SHOW TRANSACTIONS YIELD connectionId, currentQuery")
        }
        return "\n".join(
            f"{row['connectionId']} since {row['connectTime']} from {row['clientAddress']}, {row['userAgent']}, "
            f"runs {running.get(row['connectionId']) or 'nothing'}"
            for row in rows
        )

    def forget_workspace(self, name: str) -> None:
        """Remove a workspace's graph, its vectors and its lease, with their constraints and indexes."""
        labels = [name, *(f"{name}/{kind}" for kind in ("entities", "relationships", "chunks"))]
        for label in labels:
            self.query(f"MATCH (n:`{label}`) DETACH DELETE n")
        for kind, kinds in (("CONSTRAINT", "CONSTRAINTS"), ("INDEX", "INDEXES")):
            for row in self.query(f"SHOW {kinds} YIELD name, labelsOrTypes WHERE labelsOrTypes[0] IN $l", l=labels):
                self.query(f"DROP {kind} `{row['name']}`")
        self.query("MATCH (n:LightRAGLease|LightRAGWaiter {workspace: $name}) DETACH DELETE n", name=name)
        self.query("MATCH (n:LightRAGFence) WHERE n.key STARTS WITH $name + '/' DETACH DELETE n", name=name)
