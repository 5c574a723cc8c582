"""The flow ``ingest``: files or texts become a graph, and a report says what became of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dependency_injector.wiring import Provide, inject
from neo4j import AsyncDriver
from prefect import flow

from app_container import AppContainerError, Container
from app_container.container import current_container
from app_container.errors import Problem
from app_container.settings import Settings
from wiring.corpus import UsageError, read_files
from wiring.lightrag.document_checks import make_document_id
from wiring.lightrag.graph_size import GraphSize, graph_size
from wiring.lightrag.results import Inserted
from wiring.lightrag.workspaces import check_workspace
from wiring.prefect.documents import insert_document
from wiring.prefect.report import IngestReport, publish
from wiring.prefect.tasks import RELIABLE, async_task
from wiring.runner import Document, Outcome, insert_each

AT_ONCE = 16
"""Documents of a run that are handed to LightRAG at once; it works on ``max_parallel_insert`` of them."""


class IngestFailedError(AppContainerError):
    """Documents of an ingest are not in the graph; the others are.

    Args:
        report: what became of all of them.
    """

    def __init__(self, report: IngestReport) -> None:
        failures = report["failures"]
        first, reason = next(iter(failures.items()))
        super().__init__(f"{len(failures)} of {report['documents']} documents failed, the first is {first!r}: {reason}")
        self.report = report


@async_task(name="count_graph", task_run_name="count {workspace}", **RELIABLE)
@inject
async def count_graph(
    workspace: str,
    driver: AsyncDriver = Provide[Container.async_driver],
    settings: Settings = Provide[Container.settings],
) -> GraphSize:
    """How large the graph of a workspace is."""
    return await graph_size(driver, settings.neo4j.database, workspace)


@flow(name="ingest")
async def ingest(
    paths: list[str] | None = None, texts: list[str] | None = None, workspace: str | None = None
) -> IngestReport:
    """Put files and texts into the graph. What is there already is left alone, so it can be run again.

    A report is published as the artifact "ingest". A document that fails does not stop the others.

    Args:
        paths: text files, or folders of .md, .rst and .txt files, where the flow runs.
        texts: documents themselves.
        workspace: where they belong; None for the configured workspace.

    Raises:
        UsageError: there is nothing to ingest, or a path cannot be read; nothing was stored.
        IngestFailedError: documents failed; the report, which is published before, names all of them.
    """
    limit = current_container().settings().lightrag.max_document_bytes
    documents, unusable = read_files([Path(path) for path in paths], None, limit) if paths else ([], [])
    documents += [Document(text, "") for text in texts or ()]
    if not documents and not unusable:
        raise UsageError(Problem("flow ingest", "paths, texts", (), "both are empty", "name files, or give texts"))
    return await insert_all(documents, workspace, dict(unusable))


async def insert_all(
    documents: Sequence[Document], workspace: str | None = None, unusable: dict[str, str] | None = None
) -> IngestReport:
    """Insert documents, each by a task, and publish a report; for a flow of your own, which awaits it.

    Args:
        documents: what to insert.
        workspace: where they belong; None for the configured workspace.
        unusable: the documents that are not among them because they cannot be one, each with the reason.

    Raises:
        IngestFailedError: as for ``ingest``.
    """
    name = workspace or current_container().settings().lightrag.workspace
    check_workspace(name)
    started = time.monotonic()
    outcomes: list[Outcome] = []

    async def insert(document: Document) -> Inserted:
        options: dict[str, Any] = {"document_id": document.document_id, "file_path": document.file_path}
        result: Inserted = await insert_document(document.text, **options, workspace=name)
        return result

    try:
        await insert_each(documents, insert, outcomes.append, at_once=AT_ONCE)
    except BaseExceptionGroup as errors:
        # The signal that ends a cancelled run; wrapped in a group, Prefect would take it for a crash.
        raise errors.exceptions[0] from None
    statuses = [outcome.result["status"] for outcome in outcomes if outcome.result]
    unusable = unusable or {}
    failures = unusable | {_name(each.document): each.error for each in outcomes if each.error is not None}
    size = await count_graph(name)
    report = IngestReport(
        workspace=name,
        documents=len(documents) + len(unusable),
        inserted=statuses.count("processed"),
        there_already=len(statuses) - statuses.count("processed"),
        failures=failures,
        entities=size.entities,
        relations=size.relations,
        seconds=round(time.monotonic() - started, 3),
    )
    await publish(report)
    if failures:
        raise IngestFailedError(report)
    return report


def _name(document: Document) -> str:
    """What a report calls it."""
    return document.file_path or document.document_id or make_document_id(document.text, None)
