"""A server in a Docker container of the tests' own."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

DOCKER_TIMEOUT = 20.0
END_TIMEOUT = 30
LOG_LINES = 60


@functools.cache
def docker_answers() -> bool:
    """Whether there is a Docker daemon, which is asked once and given 20 seconds."""
    try:
        answer = subprocess.run(["docker", "info"], capture_output=True, timeout=DOCKER_TIMEOUT, check=False)  # noqa: S607
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


class DockerServer:
    """A server in a container.

    Args:
        image: its image, e.g. ``neo4j:5.26``.
        inside: the port it listens to in its container.
        port: the port it gets on this machine, also after a restart; None: one that Docker chooses.
        command: instead of the image's own.
        env: its environment.

    Raises:
        MissingExtraError: testcontainers is not installed.
    """

    def __init__(
        self,
        image: str,
        inside: int,
        *,
        port: int | None = None,
        command: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        if importlib.util.find_spec("testcontainers") is None:
            from app_container.errors import MissingExtraError

            raise MissingExtraError(f"{image} in Docker", "testing", "testcontainers")
        from testcontainers.core.container import DockerContainer

        self._inside = inside
        self._container: Any = DockerContainer(image).with_envs(**(env or {}))
        # Nobody else can reach it; but where Docker is another machine, as in many a CI, this one must.
        is_here = self.host in ("localhost", "127.0.0.1")
        self._container.ports = {f"{inside}/tcp": ("127.0.0.1" if is_here else "", port)}
        if command:
            self._container.with_command(list(command))
        self._is_made = False

    @property
    def host(self) -> str:
        """Where its port is."""
        return str(self._container.get_container_host_ip())

    @property
    def port(self) -> int:
        """Its port there, once it is started."""
        return int(self._container.get_exposed_port(self._inside))

    def start(self) -> None:
        """Start it, for the first time or again; returns before it answers."""
        if self._is_made:
            self._wrapped.start()
        else:
            self._is_made = True
            self._container.start()

    def kill(self) -> None:
        """End it at once."""
        self._wrapped.kill("KILL")
        self._wrapped.wait(timeout=END_TIMEOUT)

    def end(self) -> None:
        """Ask it to end, and wait."""
        self._wrapped.stop(timeout=END_TIMEOUT)

    def stop(self) -> None:
        """Let it do nothing at all, without closing anything."""
        self._wrapped.pause()

    def go_on(self) -> None:
        """Let it work again."""
        self._wrapped.unpause()

    def log(self) -> str:
        """The last lines of what it wrote."""
        text: bytes = self._wrapped.logs(tail=LOG_LINES)
        return text.decode(errors="replace")

    def close(self) -> None:
        """End it for good, and remove its data."""
        if self._is_made:
            self._container.stop()

    @property
    def _wrapped(self) -> Any:
        return self._container.get_wrapped_container()
