"""The services of compose.yaml, in a project of the tests' own."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import PROJECT, PROJECT_TABLE
from tests.deploy.docker_command import docker
from wiring.testing.neo4j_server import Neo4jServer
from wiring.testing.own_server import free_port

PORTS = ("NEO4J_BOLT_PORT", "NEO4J_HTTP_PORT", "RABBITMQ_HTTP_PORT", "FLOWER_PORT", "PROMETHEUS_PORT")


@dataclass(frozen=True)
class Stack:
    """A project of compose's.

    Args:
        name: the project's.
        variables: what compose.yaml asks of the environment.
    """

    name: str
    variables: dict[str, str]

    @property
    def image(self) -> str:
        return self.variables["WORKER_IMAGE"]

    @property
    def network(self) -> str:
        return f"{self.name}_default"

    @property
    def secrets(self) -> Path:
        return Path(self.variables["SECRETS_DIR"])

    @property
    def passwords(self) -> list[str]:
        return [file.read_text() for file in sorted(self.secrets.iterdir())]

    @property
    def server(self) -> Neo4jServer:
        password = (self.secrets / "neo4j.txt").read_text()
        return Neo4jServer(f"bolt://127.0.0.1:{self.variables['NEO4J_BOLT_PORT']}", "neo4j", password)

    def compose(self, *arguments: str, timeout: float = 120.0) -> str:
        return docker(*self._compose, *arguments, timeout=timeout, env=self._environment)

    def up(self, *services: str) -> None:
        """Start services, with those they need, and wait until they are healthy."""
        self.compose("--profile", "*", "up", "--detach", "--no-build", "--wait", *services, timeout=180)

    def containers(self, *services: str) -> list[str]:
        """Their names, also of those that do not run."""
        return self.compose("--profile", "*", "ps", "--all", "--format", "{{.Name}}", *services).split()

    def log(self) -> str:
        return self.compose("--profile", "*", "logs", "--no-color", "--tail", "50")

    def address(self, port: str) -> str:
        return f"http://127.0.0.1:{self.variables[port]}"

    @contextmanager
    def inserting(self, folder: Path, workspace: str) -> Iterator[subprocess.Popen[str]]:
        """Begin to insert a folder, by the command in a container of its own."""
        command = ["run", "--rm", "--no-deps", "--no-TTY", "--volume", f"{folder}:/documents:ro", "worker"]
        command += ["lightrag-neo4j", "insert", "/documents", "--workspace", workspace]
        with subprocess.Popen(
            ["docker", *self._compose, *command],  # noqa: S607 - the user's
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()  # its container, if it is there yet, is the project's and ends with it

    @property
    def _compose(self) -> list[str]:
        return ["compose", "--project-name", self.name, "--file", str(PROJECT / "compose.yaml")]

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables}


@contextmanager
def run_stack(folder: Path) -> Iterator[Stack]:
    """A project whose images are built, and nothing of it started yet."""
    variables = {name: str(free_port()) for name in PORTS}
    variables |= {
        "SECRETS_DIR": str(folder / "secrets"),
        "VERSION": PROJECT_TABLE["version"],
        "LIGHTRAG_WORKSPACE": "default",
    }
    variables |= {"WORKER_IMAGE": "lightrag-neo4j:test", "FLOWER_IMAGE": "lightrag-neo4j-flower:test"}
    stack = Stack(f"lightrag-neo4j-test-{uuid.uuid4().hex[:8]}", variables)
    subprocess.run([PROJECT / "deploy/compose/make-secrets", stack.secrets], check=True, timeout=10)
    try:
        stack.compose("build", "worker", "flower", timeout=600)
        yield stack
    finally:
        stack.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "10")
