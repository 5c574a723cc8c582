"""Which Neo4j: the one at ``NEO4J_URI`` if it is set, else a container where Docker answers, else the local one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from wiring.testing.docker_server import DockerServer, docker_answers
from wiring.testing.logs import end_of
from wiring.testing.neo4j_server import Neo4jServer
from wiring.testing.waiting import until_it_answers

IMAGE = "neo4j:5.26"


@dataclass(frozen=True)
class ServerChoice:
    """Which server it will be, from the environment as it was when the tests began.

    Args:
        given: the server at ``NEO4J_URI``, if that is set.
        home: the folder of the local server.
    """

    given: Neo4jServer | None
    home: Path

    def __str__(self) -> str:
        if self.given is not None:
            parts = urlsplit(self.given.uri)  # without what does not belong there: user and password
            return f"NEO4J_URI={parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return f"{IMAGE} in Docker" if docker_answers() else f"the local one, in {self.home}"

    @contextmanager
    def run(self) -> Iterator[Neo4jServer]:
        """The server, which is ended again if it was started here.

        Raises:
            AppContainerError: it cannot be started; the message says what to install or to look at.
            TimeoutError: it does not answer.
        """
        if self.given is not None:
            self.given.verify()
            yield self.given
        elif docker_answers():
            yield from _in_docker()
        else:
            yield from _local(self.home)


def choose_server(environ: Mapping[str, str], root: Path) -> ServerChoice:
    """Choose the server for this process; of several pytest-xdist workers each has its own.

    Args:
        environ: the environment variables.
        root: the folder of the tests' project, where the local server's data is kept.
    """
    home = root / ".lightrag" / f"test-neo4j-{environ.get('PYTEST_XDIST_WORKER', 'gw0')}"
    uri = environ.get("NEO4J_URI")
    if not uri:
        return ServerChoice(None, home)
    file = environ.get("NEO4J_PASSWORD_FILE")
    password = Path(file).read_text().rstrip("\n") if file else environ.get("NEO4J_PASSWORD", "")
    return ServerChoice(Neo4jServer(uri, environ.get("NEO4J_USERNAME") or "neo4j", password), home)


def is_shared(choice: ServerChoice) -> bool:
    """Whether other processes test with the same server at the same time."""
    return choice.given is not None and int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1


def _in_docker() -> Iterator[Neo4jServer]:
    password = uuid.uuid4().hex
    container = DockerServer(IMAGE, 7687, env={"NEO4J_AUTH": f"neo4j/{password}"})
    try:
        container.start()
        server = Neo4jServer(f"bolt://{container.host}:{container.port}", "neo4j", password, container.log)
        until_it_answers(server.verify, IMAGE, container.log)
        yield server
    finally:
        container.close()


def _local(home: Path) -> Iterator[Neo4jServer]:
    try:
        from wiring.local_neo4j import LocalNeo4j
    except ModuleNotFoundError as error:
        from app_container.errors import MissingExtraError

        what = "a local Neo4j, where NEO4J_URI is not set and no Docker answers,"
        raise MissingExtraError(what, "local", error.name) from None

    local = LocalNeo4j(home)
    started = local.start()
    try:
        yield Neo4jServer(started.uri, "neo4j", started.password, lambda: end_of(local.log_file))
    finally:
        local.stop()
