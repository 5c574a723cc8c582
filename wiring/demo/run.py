"""Starts what a demo needs, lets it work, reports, and stops what was started."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from app_container import create_container
from app_container.config_file import find_config
from app_container.drivers import check_connection
from app_container.settings import load_settings
from wiring.demo.by_celery import ByCelery
from wiring.demo.by_prefect import ByPrefect
from wiring.demo.observer import Observer
from wiring.demo.report import Report, print_report
from wiring.demo.ways import DemoError, Way, count_drivers
from wiring.local_neo4j import LocalNeo4j
from wiring.progress import download_progress

FOLDER = Path(".lightrag")


def run_demo(
    *, prefect: bool, documents: int, concurrency: int, keep: bool, as_json: bool, out: Console, err: Console
) -> None:
    """Start what is needed, insert, ask, report, and stop what was started.

    Args:
        prefect: through a Prefect flow instead of Celery workers.
        documents: how many at the most.
        concurrency: worker processes of Celery.
        keep: leave the servers and the worker running.
        as_json: print the report as JSON.
        out: for the report.
        err: for progress.

    Raises:
        AppContainerError: something could not be started, or a document failed.
    """
    kind, other = (ByPrefect, ByCelery) if prefect else (ByCelery, ByPrefect)
    local, folder = _server_and_folder(os.environ.get("NEO4J_URI"), kind.name)
    way: Way = kind(folder)
    environment = _environment(folder, local, way.name)
    report = Report()
    try:
        environment |= _start_server(local, err)
        os.environ.update(environment)
        container = create_container()
        check_connection(container.settings().neo4j)
        with Observer(container) as observer:
            way.start(container.settings(), concurrency, err)
            way.insert_and_ask(report, documents, err)
            report.entities, report.relations = observer.graph_size(way.name)
            report.differences = observer.differences(way.name, other.name)
            report.connections_opened = observer.connections_opened()
            if not keep:
                way.stop()
                report.connections_left = observer.connections_now()
            count_drivers(way, report)
    finally:
        if not keep:
            err.print("stopping what was started ...", style="dim")
            way.stop()
            if local is not None:
                local.stop()
    print_report(report, out, worker=way.worker, other=_command(prefect=not prefect), as_json=as_json)
    if keep and not as_json:
        _say_how_to_look(environment, local, way, out)
    if report.failures:
        name, reason = next(iter(report.failures.items()))
        raise DemoError(f"{report.failed} of {report.documents} documents failed, the first is {name}: {reason}")


def _command(*, prefect: bool) -> str:
    return "make demo-prefect" if prefect else "make demo"


def _server_and_folder(uri: str | None, name: str) -> tuple[LocalNeo4j | None, Path]:
    """The local server, unless ``uri`` is another one's, and the folder of what is on that server."""
    local = LocalNeo4j(FOLDER / "neo4j")
    kept = local.status()
    if not uri or (kept is not None and kept.uri == uri):
        return local, FOLDER / name
    return None, FOLDER / f"{name}-{re.sub(r'[^A-Za-z0-9]+', '-', uri)}"


def _environment(folder: Path, local: LocalNeo4j | None, workspace: str) -> dict[str, str]:
    """The settings of the demo, checked before a server is started for nothing."""
    environment = {
        "LIGHTRAG_WORKSPACE": workspace,
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


def _say_how_to_look(environment: Mapping[str, str], local: LocalNeo4j | None, way: Way, out: Console) -> None:
    exports = {name: value for name, value in environment.items() if name != "NEO4J_PASSWORD"}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    if local is not None and (server := local.status()):
        lines.append(f'export NEO4J_PASSWORD="$(cat {shlex.quote(server.password_file)})"')
    lines += ["", *way.how_to_look(shlex.quote(f"{Path(sys.executable).parent}/lightrag-neo4j"))]
    out.print(f"\nNeo4j and the {way.keeps} go on running. To look:\n")
    out.print("\n".join(f"    {line}" for line in lines), markup=False, highlight=False, soft_wrap=True)
