"""One real Neo4j for each process that runs tests, and eyes on its side of the connections."""

from __future__ import annotations

import functools
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from neo4j import GraphDatabase

from tests import PROJECT

IMAGE = "neo4j:5.26"
OUR_AGENT = "lightrag-neo4j-wiring/"

# Read before any test changes the environment.
_URI = os.environ.get("NEO4J_URI")
_USERNAME = os.environ.get("NEO4J_USERNAME", "neo4j")
_PASSWORD = os.environ.get("NEO4J_PASSWORD", "")
_HOME = PROJECT / ".lightrag" / f"test-neo4j-{os.environ.get('PYTEST_XDIST_WORKER', 'gw0')}"


@dataclass(frozen=True)
class Server:
    uri: str
    username: str
    password: str = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        return {"NEO4J_URI": self.uri, "NEO4J_USERNAME": self.username, "NEO4J_PASSWORD": self.password}

    def query(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        with GraphDatabase.driver(self.uri, auth=(self.username, self.password)) as driver:
            records, _, _ = driver.execute_query(query, parameters)
            return [record.data() for record in records]

    def our_connections(self) -> list[str]:
        """Ids of the connections of this project's drivers, as the server sees them; one just made has no name yet."""
        rows = self.query("CALL dbms.listConnections() YIELD connectionId, userAgent")
        return [row["connectionId"] for row in rows if (row["userAgent"] or "").startswith(OUR_AGENT)]

    def newest_connection(self) -> int:
        """The number of the newest connection, this one; the server counts them up."""
        rows = self.query("CALL dbms.listConnections() YIELD connectionId")
        return max(int(row["connectionId"].rpartition("-")[2]) for row in rows)

    def until_searchable(self) -> None:
        """Full-text indexes follow the graph after a while; wait until they have."""
        self.query("CALL db.awaitIndexes(60)")
        self.query("CALL db.index.fulltext.awaitEventuallyConsistentIndexRefresh()")

    def until_no_connection_is_left(self, seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while left := self.our_connections():
            assert time.monotonic() < deadline, f"connections left open: {left}; {self._seen()}"
            time.sleep(0.1)

    def _seen(self) -> str:
        """The time, every connection and what it does, to tell who left it."""
        now = self.query("RETURN toString(datetime()) AS now")[0]["now"]
        connections = self.query("CALL dbms.listConnections() YIELD connectionId, connectTime, userAgent")
        running = self.query("SHOW TRANSACTIONS YIELD connectionId, status, currentQuery, elapsedTime")
        port = urlsplit(self.uri).port
        holders = {
            (found.pid, psutil.Process(found.pid).name(), found.status)
            for found in psutil.net_connections("tcp")
            if found.pid and found.raddr and found.raddr.port == port
        }
        return f"at {now}: {connections}; {running}; connected to it are {holders}"


def choose_server() -> str:
    if _URI:
        return f"NEO4J_URI={_URI}"
    return "testcontainers" if docker_answers() else "local"


@functools.cache
def docker_answers() -> bool:
    try:
        answer = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)  # noqa: S607
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


@pytest.fixture(scope="session")
def neo4j_server() -> Iterator[Server]:
    """A real server. No server is an error, never a skip."""
    choice = choose_server()
    if choice == "testcontainers":
        from testcontainers.neo4j import Neo4jContainer

        with Neo4jContainer(IMAGE, password=uuid.uuid4().hex) as container:
            server = Server(container.get_connection_url(), container.username, container.password)
            yield server
            server.until_no_connection_is_left()
    elif choice == "local":
        from wiring.local_neo4j import LocalNeo4j

        local = LocalNeo4j(_HOME)
        started = local.start()
        try:
            server = Server(started.uri, "neo4j", started.password)
            yield server
            server.until_no_connection_is_left()
        finally:
            local.stop()
    else:
        server = Server(str(_URI), _USERNAME, _PASSWORD)
        yield server
        server.until_no_connection_is_left()


@pytest.fixture
def workspace(neo4j_server: Server) -> Iterator[str]:
    """The name of a workspace that nothing else uses; its graph is removed afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    forget_workspace(neo4j_server, name)


@pytest.fixture
def other(neo4j_server: Server, workspace: str) -> Iterator[str]:
    """Another workspace, with a name that Cypher takes only in backticks."""
    name = f"{workspace}-b"
    yield name
    forget_workspace(neo4j_server, name)


@pytest.fixture
def outside(neo4j_server: Server, workspace: str) -> Iterator[str]:
    """A label of nodes that are in no workspace."""
    yield f"Outside{workspace}"
    forget_workspace(neo4j_server, f"Outside{workspace}")


@pytest.fixture
def connections_opened(neo4j_server: Server) -> Callable[[], int]:
    """Counts the connections the server accepted since the test began, without those of the counting."""
    before = neo4j_server.newest_connection()
    return lambda: neo4j_server.newest_connection() - before - 1


def forget_workspace(server: Server, name: str) -> None:
    """Remove its graph, its vectors and its lease, with their constraints and indexes."""
    labels = [name, *(f"{name}/{kind}" for kind in ("entities", "relationships", "chunks"))]
    for label in labels:
        server.query(f"MATCH (n:`{label}`) DETACH DELETE n")
    for kind, kinds in (("CONSTRAINT", "CONSTRAINTS"), ("INDEX", "INDEXES")):
        for row in server.query(f"SHOW {kinds} YIELD name, labelsOrTypes WHERE labelsOrTypes[0] IN $l", l=labels):
            server.query(f"DROP {kind} `{row['name']}`")
    server.query("MATCH (n:LightRAGLease|LightRAGWaiter {workspace: $name}) DETACH DELETE n", name=name)
    server.query("MATCH (n:LightRAGFence) WHERE n.key STARTS WITH $name + '/' DETACH DELETE n", name=name)
