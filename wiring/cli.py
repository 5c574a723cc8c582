"""The command ``lightrag-neo4j``. Exit codes: 0; 1 for a failure; 2 for wrong usage or configuration."""

from __future__ import annotations

import importlib
import logging
import shlex
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from app_container import AppContainerError, ConfigurationError, create_container
from app_container.config_file import find_config
from app_container.errors import MissingExtraError, describe
from wiring.check import check as check_all
from wiring.cli_leases import leases
from wiring.cli_output import ConfigOption, JsonOption, WorkspaceOption, err, out, print_error, print_json, show
from wiring.cli_stats import show_stats
from wiring.corpus import read_files
from wiring.lightrag.document_checks import check_document_id, check_question
from wiring.lightrag.errors import InvalidDocumentError
from wiring.lightrag.results import QueryMode
from wiring.lightrag.workspaces import check_workspace
from wiring.probe import Probe, answer_probe
from wiring.progress import download_progress, insert_with_progress
from wiring.runner import choose_runner

DEFAULT_HOME = Path(".lightrag/neo4j")

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown", add_completion=False,
    help="LightRAG on Neo4j: check the configuration, insert documents, ask questions, run a local server.",
)  # fmt: skip
neo4j = typer.Typer(no_args_is_help=True, help="A real Neo4j on this machine, without Docker and without Java.")
app.add_typer(neo4j, name="neo4j")
app.add_typer(leases, name="leases")
app.command("stats", epilog="Example: `lightrag-neo4j stats --watch 2`, or `lightrag-neo4j stats --json`")(show_stats)

HomeOption = Annotated[Path, typer.Option("--home", help="Folder of the server.", envvar="LIGHTRAG_NEO4J_HOME")]


def main() -> None:
    """Run the command, and turn what can go wrong into one line and an exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app()
    except AppContainerError as error:
        print_error(str(error))
        sys.exit(2 if isinstance(error, ConfigurationError | InvalidDocumentError) else 1)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the last net: whatever it is, one line says it
        print_error(f"{describe(error)}; this was not foreseen, please report it with the command you ran")
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _root(show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show_version:
        out.print(version("lightrag-neo4j-wiring"))
        raise typer.Exit


@app.command(epilog="Example: `lightrag-neo4j check --json`, or `lightrag-neo4j check --probe readiness`")
def check(
    probe: Annotated[Probe | None, typer.Option(help="One line of JSON and an exit code, for Kubernetes.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the configuration and the server, and show what will be used."""
    container = create_container(config)
    if probe is not None:
        raise typer.Exit(0 if answer_probe(container, probe) else 1)
    show({"config": str(find_config(config)), **check_all(container)}, as_json=as_json)


@app.command(epilog="Example: `lightrag-neo4j insert README.md docs/ --workspace handbook`")
def insert(
    paths: Annotated[list[Path], typer.Argument(help="Text files, or folders of .md, .rst and .txt files.")],
    workspace: WorkspaceOption = None,
    document_id: Annotated[str | None, typer.Option(help="Id of the document; for a single file.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Insert documents into the graph. What is there already is left alone."""
    container = create_container(config)
    _check_names(workspace, document_id)
    documents, unusable = read_files(paths, document_id, container.settings().lightrag.max_document_bytes)
    outcomes = insert_with_progress(choose_runner(container), documents, workspace, err) if documents else []
    failures = unusable + [(o.document.file_path, o.error) for o in outcomes if o.error is not None]
    if as_json:
        results = [{"file_path": o.document.file_path, **o.result} for o in outcomes if o.result is not None]
        errors = [{"file_path": name, "error": reason} for name, reason in failures]
        print_json({"inserted": results, "failed": errors})
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
            print_error(f"{name}: {reason}")
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
    container = create_container(config)
    _check_names(workspace)
    check_question(text)
    answer = choose_runner(container).query(text, mode, workspace)
    if as_json:
        print_json(answer)
        return
    sys.stdout.write(answer["answer"] + "\n")
    used = f"{answer['entities']} entities, {answer['relationships']} relationships, {answer['chunks']} chunks"
    err.print(f"from {used} of workspace {answer['workspace']}", style="dim")


@app.command(epilog="Example: `lightrag-neo4j delete doc-3fe5 --workspace handbook`")
def delete(
    document_ids: Annotated[list[str], typer.Argument(help="Ids of documents, as `insert --json` shows them.")],
    workspace: WorkspaceOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove documents, with what only they contributed to the graph."""
    container = create_container(config)
    for document_id in document_ids:
        _check_names(workspace, document_id)
    runner = choose_runner(container)
    deleted, failures = [], []
    for document_id in document_ids:
        try:
            deleted.append(runner.delete(document_id, workspace))
        except AppContainerError as error:
            failures.append({"document_id": document_id, "error": str(error)})
    if as_json:
        print_json({"deleted": deleted, "failed": failures})
    else:
        out.print(f"{len(deleted)} deleted" + (f", {len(failures)} failed" if failures else ""))
        for failure in failures:
            print_error(failure["error"])
    raise typer.Exit(1 if failures else 0)


@app.command(epilog="Example: `lightrag-neo4j repair --workspace handbook --dry-run`")
def repair(
    workspace: WorkspaceOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be merged, and change nothing.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Merge entities that are in the graph twice, and make the constraint that keeps them single."""
    from wiring.lightrag.repair import repair as merge_duplicates

    report = merge_duplicates(create_container(config), workspace, dry_run=dry_run)
    nodes = sum(merged.nodes - 1 for merged in report.merged)
    relations = sum(merged.relations_merged for merged in report.merged)
    if as_json:
        print_json(asdict(report) | {"nodes_removed": nodes, "relations_removed": relations})
    elif not report.merged:
        out.print(f"nothing to do: workspace {report.workspace!r} holds no entity twice", markup=False, soft_wrap=True)
    else:
        table = Table("entity", "nodes", "relations merged", box=None)
        for merged in report.merged:
            table.add_row(Text(merged.entity), str(merged.nodes), str(merged.relations_merged))
        out.print(table)
        counts = f"entities merged: {len(report.merged)}, nodes removed: {nodes}, relations removed: {relations}"
        out.print(counts + ("; a dry run, nothing was changed" if dry_run else ""), soft_wrap=True)


@neo4j.command("start", epilog='Example: `eval "$(lightrag-neo4j neo4j start)"` sets NEO4J_URI and NEO4J_PASSWORD.')
def neo4j_start(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Start the server, or find it running; prints what to export."""
    local = _local(home)
    with download_progress(err, local.download_bytes) as progress:
        server = local.start(progress)
    if as_json:
        facts = {"uri": server.uri, "username": "neo4j", "password_file": server.password_file, "pid": server.pid}
        print_json(facts)
        return
    password = f'"$(cat {shlex.quote(server.password_file)})"'
    sys.stdout.write(f"export NEO4J_URI={server.uri} NEO4J_PASSWORD={password}\n")


@neo4j.command("stop", epilog="Example: `lightrag-neo4j neo4j stop`")
def neo4j_stop(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Stop the server. Its data stays."""
    was_running = _local(home).stop()
    if as_json:
        print_json({"was_running": was_running})
        return
    err.print("stopped" if was_running else "was not running")


@neo4j.command("status", epilog="Example: `lightrag-neo4j neo4j status --json`")
def neo4j_status(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Tell whether the server runs, and where; exit code 1 if it does not."""
    server = _local(home).status()
    if server is None:
        show({"running": False}, as_json=as_json)
        raise typer.Exit(1)
    show(
        {"running": True, "uri": server.uri, "pid": server.pid, "password_file": server.password_file}, as_json=as_json
    )


@app.command(epilog="Example: `lightrag-neo4j demo --keep`")
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave server and worker running.")] = False,
    documents: Annotated[int, typer.Option(min=1, help="How many documents at the most.")] = 60,
    concurrency: Annotated[int, typer.Option(min=1, help="Worker processes, of Celery.")] = 2,
    prefect: Annotated[bool, typer.Option("--prefect", help="With a Prefect flow instead of Celery workers.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Build a graph of the installed Python packages in a real Neo4j, with real Celery workers or a Prefect flow."""
    runs_tasks = "prefect" if prefect else "celery"
    try:
        for module in (runs_tasks, "lightrag"):  # missing, they would be missed only after a server was started
            importlib.import_module(module)
        from wiring.demo import run_demo
    except ModuleNotFoundError as error:
        raise MissingExtraError("the demo", f"{runs_tasks},lightrag,local", error.name) from None
    run_demo(
        prefect=prefect, documents=documents, concurrency=concurrency, keep=keep, as_json=as_json, out=out, err=err
    )


def _check_names(workspace: str | None, document_id: str | None = None) -> None:
    """Refuse names that cannot be ones before anything is connected."""
    if workspace is not None:
        check_workspace(workspace)
    if document_id is not None:
        check_document_id(document_id)


def _local(home: Path) -> Any:
    try:
        from wiring.local_neo4j import LocalNeo4j
    except ModuleNotFoundError as error:
        raise MissingExtraError("the local Neo4j", "local", error.name) from None
    return LocalNeo4j(home)
