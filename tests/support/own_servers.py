"""Servers of a test's own, which it may kill, stop and start again, in a container or as a process.

They keep their data and their port over a restart.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

START_TIMEOUT = 120.0
END_TIMEOUT = 30


class OwnServer(Protocol):
    """What a test does to a server."""

    def start(self) -> None:
        """Start it, for the first time or again; returns before it answers."""

    def kill(self) -> None:
        """End it at once."""

    def end(self) -> None:
        """Ask it to end, and wait."""

    def stop(self) -> None:
        """Let it do nothing at all, without closing anything."""

    def go_on(self) -> None:
        """Let it work again."""

    def close(self) -> None:
        """End it for good."""


class InContainer:
    """A server in a container, whose port ``inside`` is ``port`` of this machine."""

    def __init__(
        self, image: str, inside: int, port: int, command: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> None:
        from testcontainers.core.container import DockerContainer

        self._container: Any = DockerContainer(image).with_envs(**(env or {}))
        # A port that Docker chose would be another one after a restart.
        self._container.ports = {f"{inside}/tcp": ("127.0.0.1", port)}
        if command:
            self._container.with_command(list(command))
        self._is_made = False

    def start(self) -> None:
        if self._is_made:
            self._container.get_wrapped_container().start()
        else:
            self._is_made = True
            self._container.start()

    def kill(self) -> None:
        self._container.get_wrapped_container().kill("KILL")
        self._container.get_wrapped_container().wait(timeout=END_TIMEOUT)

    def end(self) -> None:
        self._container.get_wrapped_container().stop(timeout=END_TIMEOUT)

    def stop(self) -> None:
        self._container.get_wrapped_container().pause()

    def go_on(self) -> None:
        self._container.get_wrapped_container().unpause()

    def close(self) -> None:
        if self._is_made:
            self._container.stop()


class AsProcess:
    """A server that is a process of this machine, started with the same command each time."""

    def __init__(self, command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        self._command = list(command)
        self._folder = folder
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "console.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._running.wait(END_TIMEOUT)

    def end(self) -> None:
        self._signal(signal.SIGTERM)
        self._running.wait(END_TIMEOUT)

    def stop(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was never started"
        return self._process

    def _signal(self, number: signal.Signals) -> None:
        # The whole session of it: a script that starts the server is only its first process.
        os.killpg(self._running.pid, number)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until_it_answers(ask: Callable[[], Any], what: str) -> None:
    """Until ``ask`` raises nothing any more."""
    deadline = time.monotonic() + START_TIMEOUT
    error: Exception | None = None
    while time.monotonic() < deadline:
        try:
            ask()
        except Exception as raised:  # noqa: BLE001 - each server has its own
            error = raised
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(f"{what} does not answer after {START_TIMEOUT:.0f} s: {error}")
