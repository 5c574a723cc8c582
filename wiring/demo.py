"""``make demo``: real documents become a graph in a real Neo4j, written by real Celery workers, and what it cost."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neo4j import Driver, GraphDatabase
from rich.console import Console
from rich.table import Table

from app_container import AppContainerError, Container, create_container
from app_container.config_file import find_config
from app_container.drivers import check_connection, driver_options
from app_container.settings import Settings, load_settings
from wiring.corpus import installed_packages
from wiring.local_neo4j import LocalNeo4j
from wiring.process_file import ProcessFile, end_process
from wiring.progress import download_progress, insert_with_progress
from wiring.runner import InWorkers, find_workers

FOLDER = Path(".lightrag")
WORKSPACE = "demo"
QUESTIONS = ("Which packages build on asyncio?", "How do Celery and Redis work together?")
WORKER_START_TIMEOUT = 90.0
WORKER_STOP_TIMEOUT = 60.0


class DemoError(AppContainerError):
    """The demo cannot go on."""


@dataclass(slots=True)
class Report:
    """What the demo did, and what it cost."""

    documents: int
    inserted: int = 0
    there_already: int = 0
    seconds: float = 0.0
    entities: int = 0
    relations: int = 0
    worker_processes: int = 0
    connections_opened: int = 0
    drivers_opened: int = 0
    drivers_closed: int = 0
    connections_left: int | None = None
    answers: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> int:
        """Tasks that the workers ran."""
        return self.documents + len(self.answers)

    @property
    def failed(self) -> int:
        """Documents that are not in the graph."""
        return len(self.failures)


def run_demo(*, documents: int, concurrency: int, keep: bool, as_json: bool, out: Console, err: Console) -> None:
    """Start what is needed, insert, ask, report, and stop what was started.

    Args:
        documents: how many at the most.
        concurrency: worker processes.
        keep: leave server and worker running.
        as_json: print the report as JSON.
        out: for the report.
        err: for progress.

    Raises:
        AppContainerError: something could not be started, or a document failed.
    """
    local, folder = _server_and_folder(os.environ.get("NEO4J_URI"))
    worker = Worker(folder)
    environment = _environment(folder, local)
    try:
        environment |= _start_server(local, err)
        os.environ.update(environment)
        container = create_container()
        check_connection(container.settings().neo4j)
        with Observer(container) as observer:
            running = worker.start(container.settings(), concurrency, err)
            report = Report(documents=0)
            _insert_and_ask(running, report, documents, err)
            report.entities, report.relations = observer.graph_size()
            report.connections_opened = observer.connections_opened()
            if not keep:
                worker.stop()
                report.connections_left = observer.connections_now()
            worker.count(report)
    finally:
        if not keep:
            err.print("stopping what was started ...", style="dim")
            worker.stop()
            if local is not None:
                local.stop()
    _print(report, out, as_json=as_json)
    if keep and not as_json:
        _say_how_to_look(environment, local, worker.log_file, out)
    if report.failures:
        name, reason = next(iter(report.failures.items()))
        raise DemoError(f"{report.failed} of {report.documents} documents failed, the first is {name}: {reason}")


class Worker:
    """A Celery worker in the background, with its files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = ProcessFile(folder / "worker.json")
        self.log_file = folder / "worker.log"

    def start(self, settings: Settings, concurrency: int, err: Console) -> InWorkers:
        """Start it, or find the one that an earlier demo kept, and wait until it answers."""
        if self._process.read() is not None and (running := find_workers(settings)):
            return running
        self._process.end(WORKER_STOP_TIMEOUT)
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, "-m", "celery", "-A", "wiring.celery_app", "worker",
            "--concurrency", str(concurrency), "--loglevel", "INFO",
        ]  # fmt: skip
        with err.status("starting the worker ..."), self.log_file.open("w") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            self._process.write(process.pid)
            deadline = time.monotonic() + WORKER_START_TIMEOUT
            while (running := find_workers(settings)) is None:
                if process.poll() is not None:
                    tail = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-5:])
                    raise DemoError(f"the worker ended while starting:\n{tail}")
                if time.monotonic() > deadline:
                    end_process(process.pid, WORKER_STOP_TIMEOUT)
                    raise DemoError(
                        f"the worker did not answer within {WORKER_START_TIMEOUT:.0f} s; see {self.log_file}"
                    )
        process.returncode = 0  # it may outlive this object, which would otherwise warn about it
        return running

    def stop(self) -> None:
        """Warm shutdown: it finishes its tasks and closes its drivers."""
        self._process.end(WORKER_STOP_TIMEOUT)

    def count(self, report: Report) -> None:
        """Count in its log the drivers its processes opened and closed."""
        log = self.log_file.read_text(errors="replace")
        opened = re.findall(r"opened \w*Driver .*process (\d+)", log)
        report.worker_processes = len(set(opened))
        report.drivers_opened = len(opened)
        report.drivers_closed = len(re.findall(r"closed \w*Driver .*process \d+", log))


class Observer:
    """Sees from the server's side what the workers do. Its own connection is not counted."""

    def __init__(self, container: Container) -> None:
        self._settings = container.settings().neo4j

    def __enter__(self) -> Observer:
        self._driver = self._connect()
        self._first = self._newest_connection()
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.close()

    def graph_size(self) -> tuple[int, int]:
        """Entities and relations of the demo's workspace."""
        query = f"MATCH (n:`{WORKSPACE}`) RETURN count(n) AS entities, sum(COUNT {{(n)-->()}}) AS relations"
        record = self._query(query)[0]
        return int(record["entities"]), int(record["relations"])

    def connections_opened(self) -> int:
        """Connections the server has accepted since this began: it numbers them."""
        return self._newest_connection() - self._first - 1

    def connections_now(self) -> int:
        """Connections to the server at this moment."""
        return len(self._query("CALL dbms.listConnections() YIELD connectionId")) - 1

    def _newest_connection(self) -> int:
        with self._connect() as driver, driver.session() as session:
            ids = session.run("CALL dbms.listConnections() YIELD connectionId").value()
        return max(int(name.rpartition("-")[2]) for name in ids)

    def _connect(self) -> Driver:
        options = driver_options(self._settings) | {"max_connection_pool_size": 1}
        return GraphDatabase.driver(self._settings.uri, **options)

    def _query(self, query: str) -> list[Any]:
        records, _, _ = self._driver.execute_query(query, database_=self._settings.database)
        return list(records)


def _server_and_folder(uri: str | None) -> tuple[LocalNeo4j | None, Path]:
    """The local server, unless ``uri`` is another one's, and the folder of what is on that server."""
    local = LocalNeo4j(FOLDER / "neo4j")
    kept = local.status()
    if not uri or (kept is not None and kept.uri == uri):
        return local, FOLDER / WORKSPACE
    return None, FOLDER / f"{WORKSPACE}-{re.sub(r'[^A-Za-z0-9]+', '-', uri)}"


def _environment(folder: Path, local: LocalNeo4j | None) -> dict[str, str]:
    """The settings of the demo, checked before a server is started for nothing."""
    environment = {
        "LIGHTRAG_WORKSPACE": WORKSPACE,
        "LIGHTRAG_WORKING_DIR": str(folder / "rag"),
        "CELERY_DATA_DIR": str(folder / "celery"),
    }
    if local is not None:
        uri = "bolt://127.0.0.1:7"
        settings = load_settings(environ={**os.environ, **environment, "NEO4J_URI": uri, "NEO4J_PASSWORD": "x"})
        if settings.neo4j.uri != uri:
            raise DemoError(f"{find_config()} must have 'uri: ${{NEO4J_URI}}', for the demo starts a server of its own")
    return environment


def _start_server(local: LocalNeo4j | None, err: Console) -> dict[str, str]:
    if local is None:
        return {}
    with download_progress(err, local.download_bytes) as progress, err.status("starting Neo4j ..."):
        server = local.start(progress)
    return {"NEO4J_URI": server.uri, "NEO4J_PASSWORD": server.password}


def _insert_and_ask(workers: InWorkers, report: Report, limit: int, err: Console) -> None:
    corpus = installed_packages(limit)
    report.documents = len(corpus)
    started = time.monotonic()
    outcomes = insert_with_progress(workers, corpus, WORKSPACE, err)
    report.seconds = time.monotonic() - started
    statuses = [outcome.result["status"] for outcome in outcomes if outcome.result]
    report.inserted = statuses.count("processed")
    report.there_already = len(statuses) - report.inserted
    report.failures = {o.document.file_path: o.error for o in outcomes if o.error is not None}
    for question in QUESTIONS:
        with err.status(question):
            report.answers[question] = workers.query(question, "mix", WORKSPACE)["answer"]


def _print(report: Report, out: Console, *, as_json: bool) -> None:
    if as_json:
        facts = asdict(report) | {"tasks": report.tasks, "failed": report.failed}
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return
    for question, answer in report.answers.items():
        out.print(f"\n[bold]{question}[/bold]")
        out.print(answer, markup=False, highlight=False)
    table = Table("", "this run", "a driver per task", title="\nWhat it took", title_justify="left")
    rows: list[tuple[str, str, str]] = [
        ("documents", f"{report.inserted} inserted, {report.there_already} there already, {report.failed} failed", ""),
        ("graph", f"{report.entities} entities, {report.relations} relations", ""),
        ("seconds a document", f"{report.seconds / report.inserted:.2f}" if report.inserted else "-", ""),
        ("worker processes", str(report.worker_processes), ""),
        ("drivers opened", str(report.drivers_opened), str(report.tasks)),
        ("connections the server saw opened", str(report.connections_opened), f"{report.tasks} or more"),
    ]
    if report.connections_left is not None:
        closed = f"{report.drivers_closed} of {report.drivers_opened} drivers closed"
        rows.append(("after the worker stopped", f"{closed}, {report.connections_left} connections left", ""))
    for row in rows:
        table.add_row(*row)
    out.print(table)


def _say_how_to_look(environment: Mapping[str, str], local: LocalNeo4j | None, log: Path, out: Console) -> None:
    exports = {name: value for name, value in environment.items() if name != "NEO4J_PASSWORD"}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    if local is not None and (server := local.status()):
        lines.append(f'export NEO4J_PASSWORD="$(cat {shlex.quote(server.password_file)})"')
    command = shlex.quote(f"{Path(sys.executable).parent}/lightrag-neo4j")
    lines += [
        "",
        f'{command} query "Which packages build on asyncio?"   # ask the worker',
        f"{command} insert README.md                            # give it more",
        f"tail -f {shlex.quote(str(log))}                      # watch it",
        f"{command} demo                                        # stops both when it is done",
    ]
    out.print("\nServer and worker go on running. To look:\n")
    out.print("\n".join(f"    {line}" for line in lines), markup=False, highlight=False, soft_wrap=True)
