"""A process for each place in which ``business`` is called, all at the same time."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx

from app_container import create_container
from tests.support.business_calls import FIRST, SECOND, Note
from tests.support.places import LOG, DriverLog
from tests.support.prefect_servers import PrefectServer
from tests.support.python_processes import PythonProcess
from tests.support.workers import WorkerProcess
from wiring.celery.options import make_app

TIMEOUT = 180
"""Seconds, against hanging: far more than a place takes."""

IN_THE_WORKER = ("celery_worker_loop", "celery_own_loops")
ALONE = ("asyncio_run", "threads", "fastapi", "prefect_awaited", "prefect_submitted")
PLACES = (*IN_THE_WORKER, *ALONE)

Notes = dict[str, list[Note]]


def process_of(place: str) -> str:
    """The name of the process of a place; for those in the Celery worker, of the worker."""
    return "celery" if place in IN_THE_WORKER else place


class Processes:
    """The processes, each with files and a log of drivers, and a workspace for each place.

    Args:
        folder: where all of it is.
        running: ends the processes that still run.
    """

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self._folder, self._running = folder, running
        self._prefix = f"test_{uuid.uuid4().hex[:12]}"

    def workspace(self, place: str) -> str:
        return f"{self._prefix}_{place}"

    def files(self, place: str) -> Path:
        """Where LightRAG's files of a place are."""
        return self._folder / process_of(place) / self.workspace(place)

    def drivers(self, process: str) -> DriverLog:
        return DriverLog(self._folder / f"{process}.drivers")

    def visit_all(self, prefect: Callable[[], PrefectServer]) -> Notes:
        """Let every place make its calls, and end; ``prefect`` starts a server while others are at work."""
        plain = {place: self._start_script(place, "business_plain") for place in ("asyncio_run", "threads")}
        web = self._start("fastapi", "uvicorn", "tests.support.business_web:app", "--port", "0")
        worker = self._start_worker()
        server = prefect()
        flows = {
            place: self._start_script(place, "business_prefect", **server.environment)
            for place in ("prefect_awaited", "prefect_submitted")
        }
        notes: Notes = {"fastapi": self._ask_web(web), **self._ask_worker()}
        web.process.send_signal(signal.SIGTERM)
        assert worker.stop() == 0, worker.log
        web.process.wait(TIMEOUT)  # its exit code is the signal, by uvicorn's choice
        return notes | {place: process.finish(TIMEOUT) for place, process in (plain | flows).items()}

    def _environment(self, process: str) -> dict[str, str]:
        return {LOG: str(self.drivers(process).file), "LIGHTRAG_WORKING_DIR": str(self._folder / process)}

    def _start(self, place: str, *arguments: str, **environment: str) -> PythonProcess:
        process = PythonProcess(self._folder, place, self._environment(place) | environment, "-m", *arguments)
        self._running.callback(process.kill)
        return process

    def _start_script(self, place: str, module: str, **environment: str) -> PythonProcess:
        return self._start(place, f"tests.support.{module}", place, self.workspace(place), **environment)

    def _start_worker(self) -> WorkerProcess:
        environment = self._environment("celery") | {"CELERY_DATA_DIR": str(self._folder / "messages")}
        arguments = ["--pool", "prefork", "--concurrency", "2"]
        worker = WorkerProcess(self._folder / "worker.log", environment, "tests.support.business_celery", arguments)
        self._running.callback(worker.kill)
        return worker

    def _ask_worker(self) -> Notes:
        """Send the tasks of both places at the same time, and the next ones when these are done."""
        settings = create_container().settings().celery.model_copy(update={"data_dir": self._folder / "messages"})
        notes: Notes = {place: [] for place in IN_THE_WORKER}
        with make_app(settings) as app:
            for call, texts in (("learn", [FIRST]), ("learn", [SECOND]), ("count_mentions", []), ("rank", [])):
                results = {
                    place: app.send_task(
                        "rank" if call == "rank" else f"{place}.{call}", [*texts, self.workspace(place)]
                    )
                    for place in IN_THE_WORKER
                }
                for place, result in results.items():
                    notes[place].append(result.get(timeout=TIMEOUT))
        return notes

    def _ask_web(self, web: PythonProcess) -> list[Note]:
        workspace, address = self.workspace("fastapi"), web.until_it_says(r"Uvicorn running on (\S+)", TIMEOUT)
        with httpx.Client(base_url=address, timeout=TIMEOUT) as client:
            answers = [client.post(f"/learn/{workspace}", json=texts) for texts in (FIRST, SECOND)]
            answers += [client.post(f"/{call}/{workspace}") for call in ("count_mentions", "rank")]
        return [answer.raise_for_status().json() for answer in answers]
