"""Prefect tasks on documents. They do what the Celery tasks do, by the same service."""

from __future__ import annotations

from typing import Any

from dependency_injector.wiring import Provide, inject
from prefect.context import TaskRunContext

from app_container import Container
from wiring.lightrag.document_checks import make_document_id
from wiring.lightrag.documents import Documents
from wiring.lightrag.results import Answer, Deleted, Inserted, QueryMode
from wiring.prefect.tasks import RELIABLE, async_task

NAME_LENGTH = 60
"""Characters of a question that stand in the name of its run."""


def name_of_run(parameters: dict[str, Any]) -> str:
    """What a run is called on Prefect's pages: after its document, or its question."""
    if name := parameters.get("document_id") or parameters.get("file_path"):
        return str(name)
    text = str(parameters.get("text"))
    words = " ".join(text.split()) or make_document_id(text, None)
    return words if len(words) <= NAME_LENGTH else f"{words[:NAME_LENGTH]}…"


@async_task(name="insert_document", task_run_name=name_of_run, **RELIABLE)
@inject
async def insert_document(
    text: str,
    *,
    document_id: str | None = None,
    file_path: str | None = None,
    workspace: str | None = None,
    documents: Documents = Provide[Container.documents],
) -> Inserted:
    """Put a document into the graph; see ``Documents.insert``."""
    return await documents.insert(text, document_id=document_id, file_path=file_path, workspace=workspace)


@async_task(name="query", task_run_name=name_of_run, **RELIABLE)
@inject
async def query(
    text: str,
    *,
    mode: QueryMode = "mix",
    workspace: str | None = None,
    documents: Documents = Provide[Container.documents],
) -> Answer:
    """Answer a question from the graph; see ``Documents.query``."""
    return await documents.query(text, mode=mode, workspace=workspace)


@async_task(name="delete_document", task_run_name=name_of_run, **RELIABLE)
@inject
async def delete_document(
    document_id: str,
    *,
    workspace: str | None = None,
    documents: Documents = Provide[Container.documents],
) -> Deleted:
    """Remove a document from the graph; see ``Documents.delete``."""
    return await documents.delete(document_id, workspace=workspace, again=_was_tried())


def _was_tried() -> bool:
    """Whether the running task, or the flow run that it is part of, was tried before."""
    context = TaskRunContext.get()
    return context is not None and (context.task_run.run_count > 1 or context.task_run.flow_run_run_count > 1)
