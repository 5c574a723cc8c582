"""The demo by Prefect: a Prefect server in the background, and a process that runs a flow on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from rich.console import Console

from app_container.settings import Settings
from wiring.demo.report import Report
from wiring.demo.ways import QUESTIONS, STOP_TIMEOUT, DemoError, end_of, start_in_background
from wiring.local_neo4j import free_port
from wiring.process_file import ProcessFile

START_TIMEOUT = 120.0
FLOW_TIMEOUT = 3600.0


class ByPrefect:
    """A Prefect server and a flow, with their files in ``folder``."""

    name = "demo_prefect"
    worker = "flow"
    keeps = "Prefect server"

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._server = ProcessFile(folder / "server.json")
        self._flow = ProcessFile(folder / "flow.json")
        self._log_file = folder / "flow.log"
        self._pages = ""

    def start(self, settings: Settings, concurrency: int, err: Console) -> None:  # noqa: ARG002 - it is one process
        """Start the server, or find it running, and wait until it answers."""
        kept = self._server.read()
        self._pages = kept["pages"] if kept else f"http://127.0.0.1:{free_port()}"
        os.environ.update(self._environment())
        if kept and _is_healthy(self._pages):
            return
        self._server.end(STOP_TIMEOUT)
        port = self._pages.rpartition(":")[2]
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
        with err.status("starting the Prefect server ..."):
            start_in_background(
                command, self._folder / "server.log", self._server, lambda: _is_healthy(self._pages) or None,
                START_TIMEOUT, pages=self._pages,
            )  # fmt: skip

    def insert_and_ask(self, report: Report, limit: int, err: Console) -> None:
        """Run the flow, in a process of its own, and take what it saw."""
        result = self._folder / "flow.result"
        result.unlink(missing_ok=True)
        command = [sys.executable, "-m", "wiring.demo.prefect_flow", str(limit), self.name, str(result), *QUESTIONS]
        with err.status(f"running the flow; look at {self._pages}/runs"), self._log_file.open("w") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            self._flow.write(process.pid)
            try:
                process.wait(FLOW_TIMEOUT)
            except subprocess.TimeoutExpired:
                raise DemoError(f"the flow did not end within {FLOW_TIMEOUT:.0f} s; see {self._log_file}") from None
            finally:
                self._flow.end(STOP_TIMEOUT)
        if process.returncode or not result.exists():
            raise DemoError(f"the flow failed; {end_of(self._log_file)}")
        seen: dict[str, Any] = json.loads(result.read_text())
        for name in ("documents", "inserted", "there_already", "failures", "seconds"):
            setattr(report, name, seen["report"][name])
        report.answers = seen["answers"]

    def stop(self) -> None:
        """End the server, and a flow that was interrupted."""
        self._flow.end(STOP_TIMEOUT)
        self._server.end(STOP_TIMEOUT)

    def logs(self) -> Sequence[Path]:
        """The flow's."""
        return [self._log_file]

    def how_to_look(self, command: str) -> list[str]:
        """The web page, and how to stop."""
        lines = {
            f"open {self._pages}": "see its runs, and the report among the artifacts",
            f"export PREFECT_API_URL={self._pages}/api": "for flows of your own",
            f"{command} demo --prefect": "stops both when it is done",
        }
        return [f"{line:60} # {what}" for line, what in lines.items()]

    def _environment(self) -> dict[str, str]:
        """Prefect's settings for a server that tells nobody, and for the flow that runs on it."""
        return {
            "PREFECT_HOME": str(self._folder / "prefect"),
            "PREFECT_API_URL": f"{self._pages}/api",
            "PREFECT_UI_API_URL": f"{self._pages}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }


def _is_healthy(pages: str) -> bool:
    try:
        with urlopen(f"{pages}/api/health", timeout=5) as answer:  # noqa: S310 - it is http, on this machine
            return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's OK
    except (URLError, OSError):
        return False
