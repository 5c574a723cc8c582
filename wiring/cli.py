"""The command ``lightrag-neo4j``. Exit codes: 0; 1 for a failure; 2 for wrong usage or configuration."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from app_container import AppContainerError, ConfigurationError, Container, create_container
from app_container.config_file import CONFIG_VARIABLE, find_config
from app_container.drivers import check_connection
from app_container.errors import MissingExtraError
from wiring.corpus import read_files
from wiring.lightrag.documents import QueryMode
from wiring.progress import documents_progress, download_progress

DEFAULT_HOME = Path(".lightrag/neo4j")

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown", add_completion=False,
    help="LightRAG on Neo4j: check the configuration, insert documents, ask questions, run a local server.",
)  # fmt: skip
neo4j = typer.Typer(no_args_is_help=True, help="A real Neo4j on this machine, without Docker and without Java.")
app.add_typer(neo4j, name="neo4j")

out = Console()
err = Console(stderr=True, highlight=False)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="Configuration file [default: config.yaml].")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WorkspaceOption = Annotated[str | None, typer.Option("--workspace", help="Workspace [default: the configured one].")]
HomeOption = Annotated[Path, typer.Option("--home", help="Folder of the server.", envvar="LIGHTRAG_NEO4J_HOME")]


def main() -> None:
    """Run the command, and turn what can go wrong into one line and an exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app()
    except AppContainerError as error:
        err.print(str(error), style="red", markup=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(130)


@app.callback(invoke_without_command=True)
def _root(show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show_version:
        out.print(version("lightrag-neo4j-wiring"))
        raise typer.Exit


@app.command(epilog="Example: `lightrag-neo4j check --json`")
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check the configuration and the server, and show what will be used."""
    from app_container.execution import execution

    container = _container(config)
    settings = container.settings()
    started = time.monotonic()
    server = check_connection(settings.neo4j)
    facts = {
        "config": str(find_config(config)),
        "uri": settings.neo4j.uri,
        "username": settings.neo4j.username,
        "database": settings.neo4j.database,
        "server": server,
        "connect_ms": round((time.monotonic() - started) * 1000, 1),
        "max_connection_pool_size": settings.neo4j.max_connection_pool_size,
        "connection_acquisition_timeout": settings.neo4j.connection_acquisition_timeout,
        "driver": execution().reason,
        "graph_storage": settings.lightrag.graph_storage,
        "workspace": settings.lightrag.workspace,
        "working_dir": str(settings.lightrag.working_dir),
    }
    _show(facts, as_json=as_json)


@app.command(epilog="Example: `lightrag-neo4j insert README.md docs/ --workspace handbook`")
def insert(
    paths: Annotated[list[Path], typer.Argument(help="Text files, or folders of .md, .rst and .txt files.")],
    workspace: WorkspaceOption = None,
    document_id: Annotated[str | None, typer.Option(help="Id of the document; for a single file.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Insert documents into the graph. What is there already is left alone."""
    from wiring.runner import Outcome, choose_runner

    container = _container(config)
    documents, unusable = read_files(paths, document_id, container.settings().lightrag.max_document_bytes)
    outcomes: list[Outcome] = []
    if documents:
        runner = choose_runner(container)
        with documents_progress(err, len(documents), runner.where) as advance:

            def done(outcome: Outcome) -> None:
                outcomes.append(outcome)
                advance()

            runner.insert(documents, workspace, done)
    failures = unusable + [(o.document.file_path, o.error) for o in outcomes if o.error is not None]
    if as_json:
        results = [{"file_path": o.document.file_path, **o.result} for o in outcomes if o.result is not None]
        errors = [{"file_path": name, "error": reason} for name, reason in failures]
        sys.stdout.write(json.dumps({"inserted": results, "failed": errors}, indent=2) + "\n")
    else:
        statuses = [o.result["status"] for o in outcomes if o.result is not None]
        words = {
            "processed": "inserted",
            "unchanged": "there already",
            "duplicate": "with a text that is there already",
        }
        counted = [f"{statuses.count(status)} {word}" for status, word in words.items() if status in statuses]
        out.print(", ".join([*counted, *([f"{len(failures)} failed"] if failures else [])]))
        for name, reason in failures:
            err.print(f"{name}: {reason}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(1 if failures else 0)


@app.command(epilog='Example: `lightrag-neo4j query "Who uses asyncio?" --mode local`')
def query(
    text: Annotated[str, typer.Argument(help="The question.")],
    mode: Annotated[QueryMode, typer.Option(help="How LightRAG searches.")] = "mix",
    workspace: WorkspaceOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a question of the graph."""
    from wiring.runner import choose_runner

    answer = choose_runner(_container(config)).query(text, mode, workspace)
    if as_json:
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return
    out.print(answer["answer"], markup=False, highlight=False)
    used = f"{answer['entities']} entities, {answer['relationships']} relationships, {answer['chunks']} chunks"
    err.print(f"from {used} of workspace {answer['workspace']}", style="dim")


@neo4j.command("start", epilog='Example: `eval "$(lightrag-neo4j neo4j start)"` sets NEO4J_URI and NEO4J_PASSWORD.')
def neo4j_start(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Start the server, or find it running; prints what to export."""
    local = _local(home)
    with download_progress(err, local.download_bytes) as progress:
        server = local.start(progress)
    facts = {"uri": server.uri, "username": "neo4j", "password_file": server.password_file, "pid": server.pid}
    if as_json:
        _show(facts, as_json=as_json)
        return
    sys.stdout.write(f'export NEO4J_URI={server.uri} NEO4J_PASSWORD="$(cat {server.password_file})"\n')


@neo4j.command("stop", epilog="Example: `lightrag-neo4j neo4j stop`")
def neo4j_stop(home: HomeOption = DEFAULT_HOME) -> None:
    """Stop the server. Its data stays."""
    err.print("stopped" if _local(home).stop() else "was not running")


@neo4j.command("status", epilog="Example: `lightrag-neo4j neo4j status --json`")
def neo4j_status(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Tell whether the server runs, and where; exit code 1 if it does not."""
    server = _local(home).status()
    if server is None:
        _show({"running": False}, as_json=as_json)
        raise typer.Exit(1)
    _show(
        {"running": True, "uri": server.uri, "pid": server.pid, "password_file": server.password_file}, as_json=as_json
    )


@app.command(epilog="Example: `lightrag-neo4j demo --keep`")
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave server and worker running.")] = False,
    documents: Annotated[int, typer.Option(min=1, help="How many documents at the most.")] = 60,
    concurrency: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    as_json: JsonOption = False,
) -> None:
    """Build a graph of the installed Python packages in a real Neo4j, with real Celery workers."""
    try:
        from wiring.demo import run_demo
    except ModuleNotFoundError as error:
        raise MissingExtraError("the demo", "celery,lightrag,local", error.name) from None
    run_demo(documents=documents, concurrency=concurrency, keep=keep, as_json=as_json, out=out, err=err)


def _container(config: Path | None) -> Container:
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config)
    return create_container()


def _local(home: Path) -> Any:
    try:
        from wiring.local_neo4j import LocalNeo4j
    except ModuleNotFoundError as error:
        raise MissingExtraError("the local Neo4j", "local", error.name) from None
    return LocalNeo4j(home)


def _show(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name, str(value))
    out.print(table)
