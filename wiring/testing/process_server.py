"""A server that is a process of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from wiring.testing.logs import end_of

END_TIMEOUT = 30


class ProcessServer:
    """A server that is a process of this machine, started with the same command each time.

    Args:
        command: program and arguments.
        folder: where it runs, and where its output goes.
        env: its environment, besides that of this process.
    """

    def __init__(self, command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        self._command = list(command)
        self._folder = folder
        self._log_file = folder / "console.log"
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, for the first time or again; returns before it answers."""
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)
        self._running.wait(END_TIMEOUT)

    def end(self) -> None:
        """Ask it to end, and wait."""
        self._signal(signal.SIGTERM)
        self._running.wait(END_TIMEOUT)

    def stop(self) -> None:
        """Let it do nothing at all, without closing anything."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it work again."""
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        """The last of what it wrote."""
        return end_of(self._log_file)

    def close(self) -> None:
        """End it for good."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self._command[0]} was never started")
        return self._process

    def _signal(self, number: signal.Signals) -> None:
        # The whole session of it: a script that starts the server is only its first process.
        os.killpg(self._running.pid, number)
