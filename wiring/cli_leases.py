"""``lightrag-neo4j leases``: who works on which workspace, and the way to take it from one that does not let go."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from app_container import AppContainerError, Container, create_container
from app_container.drivers import check_connection
from wiring.cli_output import ConfigOption, JsonOption, out, print_json
from wiring.lightrag.leases.store import LeaseState
from wiring.lightrag.workspaces import check_workspace

T = TypeVar("T")

TIMEOUT = 30.0

leases = typer.Typer(
    invoke_without_command=True,
    help="Which worker works on which workspace. At most one does, and has its lease.",
    epilog="Example: `lightrag-neo4j leases --json`",
)


@leases.callback()
def show_leases(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the leases."""
    if context.invoked_subcommand is not None:
        return
    container = create_container(config)
    found = _run(container, container.leases().list())
    if as_json:
        print_json([asdict(lease) for lease in found])
        return
    table = Table("workspace", "held by", "for", "ends in", "documents", "waiting", "token", box=None)
    for lease in found:
        table.add_row(lease.workspace, *_told(lease), str(lease.drained), str(lease.waiting), str(lease.token))
    out.print(table)


@leases.command("release", epilog="Example: `lightrag-neo4j leases release handbook`")
def release(
    workspace: Annotated[str, typer.Argument(help="The workspace.")],
    files_moved: Annotated[
        bool, typer.Option("--files-moved", help="The folder of its files was moved or deleted; take the next one.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take the lease from whoever has it. That one cannot write any more, and its documents are taken up by others."""
    check_workspace(workspace)
    container = create_container(config)
    released = _run(container, container.leases().release(workspace, files_moved=files_moved))
    if released is None:
        raise AppContainerError(f"workspace {workspace!r} has no lease; see lightrag-neo4j leases")
    if as_json:
        print_json({"workspace": workspace, **asdict(released)})
        return
    had = f"taken from process {released.pid} on {released.host}" if released.was_held else "nobody had it"
    out.print(f"released: {had}", markup=False, soft_wrap=True)


def _told(lease: LeaseState) -> tuple[str, str, str]:
    if not lease.is_held:
        return "-", "-", "-"
    left = f"{lease.left:.0f} s" if lease.left is not None and lease.left > 0 else "over"
    return f"process {lease.pid} on {lease.host}", f"{lease.seconds:.0f} s", left


def _run(container: Container, work: Coroutine[Any, Any, T]) -> T:
    try:
        check_connection(container.settings().neo4j)
    except AppContainerError:
        work.close()
        raise
    try:
        return container.worker_loop().run(work, TIMEOUT)
    finally:
        container.shutdown_resources()
