"""``lightrag-neo4j stats``: the pools of running workers, as a table or as JSON."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from app_container import create_container
from wiring.cli_output import ConfigOption, JsonOption, out, print_json
from wiring.metrics.report import ProcessReport, WorkerReport
from wiring.stats import Stats, stats

SILENT = 5.0
"""Seconds after which a process that says nothing is marked; it should say something every second."""


def show_stats(
    watch: Annotated[float | None, typer.Option(min=0.5, help="Show it again every so many seconds.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the connection pools of all running workers, and which size they should have."""
    container = create_container(config)
    found = stats(container)
    if as_json:
        print_json(found)
    elif watch is None:
        out.print(_page(found))
    else:
        with Live(_page(found), console=out, auto_refresh=False) as live:
            while True:
                time.sleep(watch)
                live.update(_page(stats(container)), refresh=True)
    if watch is None and not found["workers"]:
        raise typer.Exit(1)


def _page(found: Stats) -> Group | str:
    if not found["workers"]:
        return "no worker runs, or none that keeps its figures where this command looks (METRICS_DATA_DIR)"
    advice = [Text(f"{each['pool']} at {each['address']}: {each['text']}") for each in found["advice"]]
    return Group(*(part for worker in found["workers"] for part in (Text(), _table(worker))), Text(), *advice)


def _table(worker: WorkerReport) -> Table:
    columns = ("in use", "idle", "of", "peak", "acquired", "waited", "in vain")
    table = Table("process", "pool", *columns, box=None, title=Text(worker["worker"]), title_justify="left")
    for process in worker["processes"]:
        for pool in process["pools"]:
            states = (pool["in_use"], pool["idle"], pool["max"], pool["peak"])
            counts = (pool["acquired"], pool["waited"], pool["timed_out"])
            cells = ["?" if number is None else str(number) for number in (*states, *counts)]
            table.add_row(_process(process), Text(pool["pool"]), *cells)
        if not process["pools"] and process["silent_for"] >= SILENT:
            table.add_row(_process(process))
    for ended in worker["ended"]:
        counts = (ended["acquired"], ended["waited"], ended["timed_out"])
        table.add_row("ended", Text(ended["pool"]), *[""] * 4, *(str(count) for count in counts), style="dim")
    return table


def _process(process: ProcessReport) -> Text:
    if process["silent_for"] < SILENT:
        return Text(str(process["pid"]))
    return Text(f"{process['pid']}, silent for {process['silent_for']:.0f} s", style="red")
