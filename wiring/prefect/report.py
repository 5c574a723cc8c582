"""What an ingest did, as JSON and as a page of Prefect's."""

from __future__ import annotations

from prefect.artifacts import acreate_markdown_artifact
from typing_extensions import TypedDict

ARTIFACT = "ingest"
"""The artifact's key, under which Prefect keeps the reports of all runs."""

SHOWN_FAILURES = 100


class IngestReport(TypedDict):
    """What became of the documents of a run, and how large the graph of their workspace is now."""

    workspace: str
    documents: int
    inserted: int
    there_already: int
    failures: dict[str, str]
    entities: int
    relations: int
    seconds: float


async def publish(report: IngestReport) -> None:
    """Put it on the page of the running flow, and among its artifacts."""
    await acreate_markdown_artifact(markdown(report), ARTIFACT, f"documents of workspace {report['workspace']}")


def markdown(report: IngestReport) -> str:
    """The report as a page."""
    failures = report["failures"]
    rows = [
        ("documents", f"{report['documents']:,}"),
        ("inserted", f"{report['inserted']:,}"),
        ("there already", f"{report['there_already']:,}"),
        ("failures", f"{len(failures):,}"),
        ("entities", f"{report['entities']:,}"),
        ("relations", f"{report['relations']:,}"),
        ("seconds", f"{report['seconds']:.1f}"),
    ]
    lines = [f"# Ingest into workspace `{report['workspace']}`", "", "| | |", "| --- | ---: |"]
    lines += [f"| {name} | {value} |" for name, value in rows]
    if failures:
        lines += ["", "## Failures", "", "| document | reason |", "| --- | --- |"]
        lines += [f"| {_cell(name)} | {_cell(reason)} |" for name, reason in list(failures.items())[:SHOWN_FAILURES]]
        if (more := len(failures) - SHOWN_FAILURES) > 0:
            lines.append(f"| and {more:,} more | |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
