"""The demo by Celery: a worker in the background, and this process as its client."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from app_container.settings import Settings
from wiring.corpus import installed_packages
from wiring.demo.report import Report
from wiring.demo.ways import QUESTIONS, STOP_TIMEOUT, start_in_background
from wiring.process_file import ProcessFile
from wiring.progress import insert_with_progress
from wiring.runner import InWorkers, find_workers

START_TIMEOUT = 90.0


class ByCelery:
    """A Celery worker, with its files in ``folder``."""

    name = "demo"
    worker = "worker"
    keeps = "worker"

    def __init__(self, folder: Path) -> None:
        self._process = ProcessFile(folder / "worker.json")
        self._log_file = folder / "worker.log"

    def start(self, settings: Settings, concurrency: int, err: Console) -> None:
        """Start the worker, or find it running, and wait until it answers."""
        running = find_workers(settings) if self._process.read() is not None else None
        if running is None:
            self._process.end(STOP_TIMEOUT)
            command = [
                sys.executable, "-m", "celery", "-A", "wiring.celery_app", "worker",
                "--concurrency", str(concurrency), "--loglevel", "INFO",
            ]  # fmt: skip
            with err.status("starting the worker ..."):
                running = start_in_background(
                    command, self._log_file, self._process, lambda: find_workers(settings), START_TIMEOUT
                )
        self._workers: InWorkers = running

    def insert_and_ask(self, report: Report, limit: int, err: Console) -> None:
        """Send the documents, then the questions."""
        corpus = installed_packages(limit)
        report.documents = len(corpus)
        started = time.monotonic()
        outcomes = insert_with_progress(self._workers, corpus, self.name, err)
        report.seconds = time.monotonic() - started
        statuses = [outcome.result["status"] for outcome in outcomes if outcome.result]
        report.inserted = statuses.count("processed")
        report.there_already = len(statuses) - report.inserted
        report.failures = {o.document.file_path: o.error for o in outcomes if o.error is not None}
        for question in QUESTIONS:
            with err.status(question):
                report.answers[question] = self._workers.query(question, "mix", self.name)["answer"]

    def stop(self) -> None:
        """Warm shutdown: it finishes its tasks and closes its drivers."""
        self._process.end(STOP_TIMEOUT)

    def logs(self) -> Sequence[Path]:
        """The worker's."""
        return [self._log_file]

    def how_to_look(self, command: str) -> list[str]:
        """Ask, insert, watch, stop."""
        return [
            f'{command} query "Which packages build on asyncio?"   # ask the worker',
            f"{command} insert README.md                            # give it more",
            f"tail -f {shlex.quote(str(self._log_file))}                      # watch it",
            f"{command} demo                                        # stops both when it is done",
        ]
