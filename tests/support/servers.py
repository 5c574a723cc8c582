"""What tests of this project ask the server, besides what `wiring.testing` offers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from wiring.testing.neo4j_server import Neo4jServer

Server = Neo4jServer


def newest_connection(server: Server) -> int:
    """The number of the newest connection, this one; the server counts them up."""
    rows = server.query("CALL dbms.listConnections() YIELD connectionId")
    return max(int(row["connectionId"].rpartition("-")[2]) for row in rows)


def until_searchable(server: Server) -> None:
    """Full-text indexes follow the graph after a while; wait until they have."""
    server.query("CALL db.awaitIndexes(60)")
    server.query("CALL db.index.fulltext.awaitEventuallyConsistentIndexRefresh()")


@pytest.fixture
def other(neo4j_server: Server, workspace: str) -> Iterator[str]:
    """Another workspace, with a name that Cypher takes only in backticks."""
    name = f"{workspace}-b"
    yield name
    neo4j_server.forget_workspace(name)


@pytest.fixture
def outside(neo4j_server: Server, workspace: str) -> Iterator[str]:
    """A label of nodes that are in no workspace."""
    yield f"Outside{workspace}"
    neo4j_server.forget_workspace(f"Outside{workspace}")


@pytest.fixture
def connections_opened(neo4j_server: Server) -> Callable[[], int]:
    """Counts the connections the server accepted since the test began, without those of the counting."""
    before = newest_connection(neo4j_server)
    return lambda: newest_connection(neo4j_server) - before - 1
