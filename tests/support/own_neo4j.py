"""A Neo4j of a test's own, which it may kill, stop and start again."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.servers import Server
from wiring.local_neo4j import LocalNeo4j, RunningServer
from wiring.testing.docker_server import DockerServer, docker_answers
from wiring.testing.own_server import OwnServer, free_port
from wiring.testing.process_server import ProcessServer
from wiring.testing.server_choice import IMAGE
from wiring.testing.waiting import until_it_answers


@dataclass(frozen=True, kw_only=True)
class OwnNeo4j(Server):
    own: OwnServer

    def start_again(self) -> None:
        self.own.start()
        self.until_it_answers()

    def until_it_answers(self) -> None:
        until_it_answers(self.verify, self.uri)


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
    container = DockerServer(IMAGE, 7687, port=port, env={"NEO4J_AUTH": f"neo4j/{password}"})
    container.start()
    return OwnNeo4j(f"bolt://127.0.0.1:{port}", "neo4j", password, own=container)


def _as_process(home: Path) -> OwnNeo4j:
    started, process = local_as_process(home)
    process.start()
    return OwnNeo4j(started.uri, "neo4j", started.password, own=process)


def local_as_process(home: Path) -> tuple[RunningServer, ProcessServer]:
    """The local server, made and started by the product, then stopped; and a process of ours with the same command."""
    local = LocalNeo4j(home)
    started = local.start()
    made = psutil.Process(started.pid)
    process = ProcessServer(made.cmdline(), home, made.environ())
    local.stop()
    return started, process
