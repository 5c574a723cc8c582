"""The processes in which the places are, each with a log of its own; all are ended, whatever happens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests import PROJECT
from tests.support.places import LOG, DriverLog
from tests.support.python_processes import PythonProcess

TIMEOUT = 300.0


class PlaceProcess(PythonProcess):
    """``python -m ARGUMENTS``, which logs its drivers in ``drivers``."""

    def __init__(self, folder: Path, name: str, *arguments: str, **environment: str) -> None:
        self.drivers = DriverLog(folder / f"{name}.drivers")
        super().__init__(folder, name, environment | {LOG: str(self.drivers.file)}, "-m", *arguments)


class Kernel:
    """A Jupyter kernel, as a notebook starts it."""

    def __init__(self, folder: Path) -> None:
        self.drivers = DriverLog(folder / "kernel.drivers")
        self._manager = KernelManager(connection_file=str(folder / "kernel.json"), shutdown_wait_time=TIMEOUT)
        environment = os.environ | {LOG: str(self.drivers.file), "PYTHONPATH": str(PROJECT), "IPYTHONDIR": str(folder)}
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
