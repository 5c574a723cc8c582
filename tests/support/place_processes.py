"""The processes in which the places are, each with a log of its own; all are ended, whatever happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests import PROJECT
from tests.support.families import end_family
from tests.support.places import LOG, DriverLog

TIMEOUT = 300.0


class PlaceProcess:
    """``python -m ARGUMENTS``, whose drivers are counted in ``log``."""

    def __init__(self, folder: Path, name: str, *arguments: str, **environment: str) -> None:
        self.log = DriverLog(folder / f"{name}.drivers")
        self._output = folder / f"{name}.output"
        self._errors = folder / f"{name}.errors"
        with self._output.open("w") as output, self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env={**os.environ, **environment, LOG: str(self.log.file), "PYTHONPATH": str(PROJECT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )

    def finish(self) -> str:
        """Wait for its end, which must be a success; returns what it printed."""
        assert self.process.wait(TIMEOUT) == 0, self._errors.read_text()
        return self._output.read_text()

    def until_it_says(self, pattern: str) -> str:
        """Wait until a line of its standard error matches; returns the first group."""
        deadline = time.monotonic() + TIMEOUT
        while (found := re.search(pattern, self._errors.read_text())) is None:
            assert self.process.poll() is None, self._errors.read_text()
            assert time.monotonic() < deadline, self._errors.read_text()
            time.sleep(0.05)
        return found.group(1)

    def kill(self) -> None:
        """End it and all it started, if it still runs."""
        end_family(self.process)


class Kernel:
    """A Jupyter kernel, as a notebook starts it."""

    def __init__(self, folder: Path) -> None:
        self.log = DriverLog(folder / "kernel.drivers")
        self._manager = KernelManager(connection_file=str(folder / "kernel.json"), shutdown_wait_time=TIMEOUT)
        environment = os.environ | {LOG: str(self.log.file), "PYTHONPATH": str(PROJECT), "IPYTHONDIR": str(folder)}
        self._manager.start_kernel(env=environment, cwd=str(folder))
        self._client: BlockingKernelClient = self._manager.client()
        self._client.start_channels()

    def run(self, cell: str) -> str:
        """Run a cell; returns what it printed."""
        printed: list[str] = []

        def output(message: dict[str, Any]) -> None:
            printed.append(message["content"].get("text", ""))

        self._client.wait_for_ready(TIMEOUT)
        reply = self._client.execute_interactive(cell, allow_stdin=False, timeout=TIMEOUT, output_hook=output)
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(printed)

    def finish(self) -> None:
        """End it as closing a notebook does."""
        self._manager.shutdown_kernel()

    def kill(self) -> None:
        """End it, if it still runs."""
        self._client.stop_channels()
        if self._manager.is_alive():
            self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()
