"""The ways in which a demo's documents can go to the graph."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from app_container import AppContainerError
from app_container.settings import Settings
from wiring.demo.report import Report
from wiring.process_file import ProcessFile, end_process

QUESTIONS = ("Which packages build on asyncio?", "How do Celery and Redis work together?")
STOP_TIMEOUT = 60.0
"""Seconds a process of a demo has to end before it is killed."""


class DemoError(AppContainerError):
    """The demo cannot go on."""


class Way(Protocol):
    """Something that runs tasks on documents, in processes that the demo starts."""

    name: str
    worker: str
    """What has the drivers, for the table."""
    keeps: str
    """What goes on running when it is kept."""

    def start(self, settings: Settings, concurrency: int, err: Console) -> None:
        """Start it, or find what an earlier demo kept, and wait until it answers."""

    def insert_and_ask(self, report: Report, limit: int, err: Console) -> None:
        """Insert up to ``limit`` documents, ask the questions, and fill in the report."""

    def stop(self) -> None:
        """End everything, so that all drivers are closed."""

    def logs(self) -> Sequence[Path]:
        """Where the processes with drivers have written that they opened and closed them."""

    def how_to_look(self, command: str) -> list[str]:
        """Lines for a shell, to be printed when it goes on running; ``command`` is the path of ``lightrag-neo4j``."""


def count_drivers(way: Way, report: Report) -> None:
    """Count in the logs the drivers that its processes opened and closed."""
    log = "\n".join(file.read_text(errors="replace") for file in way.logs())
    opened = re.findall(r"opened \w*Driver .*process (\d+)", log)
    report.worker_processes = len(set(opened))
    report.drivers_opened = len(opened)
    report.drivers_closed = len(re.findall(r"closed \w*Driver .*process \d+", log))


def start_in_background(
    command: Sequence[str], log_file: Path, file: ProcessFile, answer: Callable[[], Any], timeout: float, **facts: str
) -> Any:
    """Start a process that may outlive this one, and wait until it answers.

    Args:
        command: what to run.
        log_file: for what it prints; its folder is made.
        file: remembers it, with ``facts``.
        answer: what it answers; None for not yet.
        timeout: seconds to wait for an answer.
        facts: see ``ProcessFile``.

    Raises:
        DemoError: it ended, or did not answer in time.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("w") as log:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    file.write(process.pid, **facts)
    deadline = time.monotonic() + timeout
    while (answered := answer()) is None:
        if process.poll() is not None:
            raise DemoError(f"the {log_file.stem} ended while starting; {end_of(log_file)}")
        if time.monotonic() > deadline:
            end_process(process.pid, STOP_TIMEOUT)
            raise DemoError(f"the {log_file.stem} did not answer within {timeout:.0f} s; see {log_file}")
        time.sleep(0.1)
    process.returncode = 0  # it may outlive this object, which would otherwise warn about it
    return answered


def end_of(log_file: Path) -> str:
    """Its last lines, for an error."""
    lines = log_file.read_text(errors="replace").splitlines()[-5:]
    return "\n".join([f"the end of {log_file}:", *lines])
