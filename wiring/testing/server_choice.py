"""Which Neo4j: the one at ``NEO4J_URI`` if it is set, else a container where Docker answers, else the local one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from wiring.testing.docker_server import DockerServer, docker_answers
from wiring.testing.logs import end_of
from wiring.testing.neo4j_server import Neo4jServer
from wiring.testing.waiting import until_it_answers

IMAGE = "neo4j:5.26"


@dataclass(frozen=True)
class ServerChoice:
    """Which server it will be; of several pytest-xdist workers each has its own, unless there is one at ``NEO4J_URI``.

    Args:
        environ: the environment variables as they were when the tests began.
        root: the folder of the tests' project, where the local server's data is kept.
    """

    environ: Mapping[str, str] = field(repr=False)
    root: Path

    def __str__(self) -> str:
        if self._uri:
            parts = urlsplit(self._uri)  # without what does not belong there: user and password
            return f"NEO4J_URI={parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return f"{IMAGE} in Docker" if docker_answers() else f"the local one, in {self._home}"

    @property
    def is_shared(self) -> bool:
        """Whether other processes test with the same server at the same time."""
        return bool(self._uri) and int(self.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1

    @contextmanager
    def run(self) -> Iterator[Neo4jServer]:
        """The server, which is ended again if it was started here.

        Raises:
            AppContainerError: it cannot be started, or its password cannot be read; the message says what to do.
            TimeoutError: it does not answer.
        """
        if self._uri:
            server = Neo4jServer(self._uri, self.environ.get("NEO4J_USERNAME") or "neo4j", self._password())
            server.verify()
            yield server
        elif docker_answers():
            yield from _in_docker()
        else:
            yield from _local(self._home)

    @property
    def _uri(self) -> str:
        return self.environ.get("NEO4J_URI", "")

    @property
    def _home(self) -> Path:
        return self.root / ".lightrag" / f"test-neo4j-{self.environ.get('PYTEST_XDIST_WORKER', 'gw0')}"

    def _password(self) -> str:
        from app_container.errors import AppContainerError
        from app_container.interpolation import interpolate

        found = interpolate("${NEO4J_PASSWORD:}", self.environ)  # as config.yaml has it, or in NEO4J_PASSWORD_FILE
        for fault in found.faults:
            raise AppContainerError(f"{fault.found}; {fault.fix}")
        return found.text


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
