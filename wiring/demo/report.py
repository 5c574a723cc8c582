"""What a demo did, as a table and as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(slots=True)
class Report:
    """What the demo did, and what it cost."""

    documents: int = 0
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
    differences: int | None = None
    answers: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> int:
        """Tasks that were run."""
        return self.documents + len(self.answers)

    @property
    def failed(self) -> int:
        """Documents that are not in the graph."""
        return len(self.failures)


def print_report(report: Report, out: Console, *, worker: str, other: str, as_json: bool) -> None:
    """Print it.

    Args:
        report: what was seen.
        out: where to.
        worker: what runs the tasks, e.g. "worker".
        other: the demo whose graph it was compared with.
        as_json: as JSON, on standard output.
    """
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
        (f"{worker} processes", str(report.worker_processes), ""),
        ("drivers opened", str(report.drivers_opened), str(report.tasks)),
        ("connections the server saw opened", str(report.connections_opened), f"{report.tasks} or more"),
    ]
    if report.connections_left is not None:
        closed = f"{report.drivers_closed} of {report.drivers_opened} drivers closed"
        rows.append((f"after the {worker} stopped", f"{closed}, {report.connections_left} connections left", ""))
    if report.differences is not None:
        said = "the same" if not report.differences else f"{report.differences} entities and relations differ"
        rows.insert(2, (f"compared with {other}", said, ""))
    for row in rows:
        table.add_row(*row)
    out.print(table)
