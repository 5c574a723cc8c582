"""A real Celery worker, as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from wiring.testing.logs import end_of
from wiring.testing.waiting import until

START_TIMEOUT = 90.0
STOP_TIMEOUT = 60.0
READY_FILE = "LIGHTRAG_NEO4J_TEST_READY_FILE"


class CeleryWorkerProcess:
    """A worker that was started.

    Args:
        log_file: where its output goes.
        environment: variables that it has besides those of this process.
        app: what ``celery -A`` is given.
        arguments: of ``celery worker``, e.g. ``--concurrency=2``.
    """

    def __init__(self, log_file: Path, environment: Mapping[str, str], app: str, arguments: Sequence[str]) -> None:
        self.log_file = log_file
        self._ready_file = log_file.with_suffix(".ready")
        self._ready_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "--loglevel", "INFO"]
        command += ["--include", "wiring.testing.worker_ready", *arguments]
        path = os.pathsep.join([str(Path.cwd()), *sys.path])  # what can be imported here can be there
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **environment, "PYTHONPATH": path, READY_FILE: str(self._ready_file)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """All it has written."""
        return self.log_file.read_text(errors="replace")

    def end_of_log(self) -> str:
        """The last of what it has written."""
        return end_of(self.log_file)

    def until_ready(self) -> None:
        """Wait until it takes tasks.

        Raises:
            WorkerEndedError: it ended instead; the message has the end of its log.
            TimeoutError: it takes longer than 90 seconds.
        """

        def is_ready() -> bool:
            if self.process.poll() is not None:
                raise WorkerEndedError(self.process.returncode, self.end_of_log())
            return self._ready_file.exists()

        until(is_ready, START_TIMEOUT, told=lambda: f"the worker is not ready:\n{self.end_of_log()}")

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout: float = STOP_TIMEOUT) -> int:
        """Ask it to end, and wait.

        Args:
            how: ``SIGTERM`` is Celery's warm shutdown: tasks that run are finished.
            timeout: seconds it may take.

        Returns:
            Its exit code.

        Raises:
            subprocess.TimeoutExpired: it takes longer.
        """
        self.process.send_signal(how)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """End it and all that it started at once, if it still runs."""
        end_family(self.process)


class WorkerEndedError(Exception):
    """A worker ended before it was ready."""

    def __init__(self, code: int, log: str) -> None:
        super().__init__(f"the worker ended with {code}:\n{log}")


class StartCeleryWorker(Protocol):
    """What the fixture ``celery_worker_process`` is."""

    def __call__(self, app: str = "wiring.celery_app", *arguments: str, **environment: str) -> CeleryWorkerProcess:
        """Start a worker and wait until it takes tasks.

        Args:
            app: what ``celery -A`` is given.
            arguments: of ``celery worker``.
            environment: variables it is given besides those of the test.
        """


def end_family(process: subprocess.Popen[Any]) -> None:
    """End ``process`` and all it started at once, if it still runs."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        family = [parent, *parent.children(recursive=True)]
        for member in family:
            member.kill()
        psutil.wait_procs(family, 10.0)
    process.wait(10.0)
