"""A Neo4j of a test's own, which it may kill, stop and start again."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from neo4j import GraphDatabase

from tests.support.own_servers import AsProcess, InContainer, OwnServer, free_port, until_it_answers
from tests.support.servers import IMAGE, Server, docker_answers
from wiring.local_neo4j import LocalNeo4j


@dataclass(frozen=True)
class OwnNeo4j(Server):
    own: OwnServer

    def start_again(self) -> None:
        self.own.start()
        self.until_it_answers()

    def until_it_answers(self) -> None:
        with GraphDatabase.driver(
            self.uri, auth=(self.username, self.password), connection_timeout=5, connection_acquisition_timeout=5
        ) as driver:
            until_it_answers(driver.verify_connectivity, self.uri)


@contextmanager
def run_own_neo4j(home: Path) -> Iterator[OwnNeo4j]:
    server = _in_container() if docker_answers() else _as_process(home)
    try:
        server.until_it_answers()
        yield server
    finally:
        server.own.close()


def _in_container() -> OwnNeo4j:
    port, password = free_port(), uuid.uuid4().hex
    container = InContainer(IMAGE, 7687, port, env={"NEO4J_AUTH": f"neo4j/{password}"})
    container.start()
    return OwnNeo4j(f"bolt://127.0.0.1:{port}", "neo4j", password, container)


def _as_process(home: Path) -> OwnNeo4j:
    """The local server, made and started by the product, and from then on a process of ours with the same command."""
    local = LocalNeo4j(home)
    started = local.start()
    made = psutil.Process(started.pid)
    process = AsProcess(made.cmdline(), Path(made.cwd()), made.environ())
    local.stop()
    process.start()
    return OwnNeo4j(started.uri, "neo4j", started.password, process)
