"""The ready worker: ``celery -A wiring.celery_app worker``, configured by ``config.yaml``.

Your own application looks like this file: a container, an app, ``setup``, and tasks.
"""

from __future__ import annotations

import logging
from typing import Any

from dependency_injector.wiring import Provide, inject

from app_container import AppContainerError, Container, create_container
from app_container.errors import DeliveryLimitError, describe
from wiring.celery import async_task, setup
from wiring.celery.documents import DocumentTask, ProgressReport
from wiring.celery.options import make_app
from wiring.lightrag.documents import Documents
from wiring.lightrag.results import Answer, Deleted, Inserted, QueryMode

try:
    container = create_container()
    app = make_app(container.settings().celery)
except AppContainerError as error:
    raise SystemExit(str(error)) from None
setup(app, container, lightrag=True, check_server=container.settings().celery.check_server)

_log = logging.getLogger("wiring.celery")

OPTIONS: dict[str, Any] = {
    "base": DocumentTask,
    "throws": (AppContainerError,),  # their message is all there is to say: Celery logs them without a traceback
    **container.settings().celery.model_dump(
        include={"max_retries", "retry_backoff", "retry_backoff_max", "delivery_limit"}
    ),
}


class InsertTask(DocumentTask):
    """Keeps a document that its processes did not survive from those that work on the others."""

    def on_give_up(self, error: DeliveryLimitError) -> None:
        """Set the document aside, or LightRAG would take it up together with the next one."""
        request = self.request
        try:
            documents = container.documents()
            container.worker_loop().run(
                documents.set_aside(*(request.args or ()), **(request.kwargs or {}), error=error)
            )
        except Exception as failure:  # noqa: BLE001 - whatever it is, the task ends with the error it was given
            _log.warning("%s; and the document could not be set aside: %s", error, describe(failure))


@async_task(app, name="lightrag.insert_document", bind=True, **OPTIONS | {"base": InsertTask})
@inject
async def insert_document(
    self: DocumentTask,
    text: str,
    *,
    document_id: str | None = None,
    file_path: str | None = None,
    workspace: str | None = None,
    documents: Documents = Provide[Container.documents],
) -> Inserted:
    """Put a document into the graph; see ``Documents.insert``. Meanwhile the task's state is ``PROGRESS``."""
    where: dict[str, Any] = {"document_id": document_id, "file_path": file_path, "workspace": workspace}
    report = ProgressReport(self)
    try:
        return await documents.insert(text, **where, report=report)
    finally:
        await report.end()


@async_task(app, name="lightrag.query", **OPTIONS)
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


@async_task(app, name="lightrag.delete_document", bind=True, **OPTIONS)
@inject
async def delete_document(
    self: DocumentTask,
    document_id: str,
    *,
    workspace: str | None = None,
    documents: Documents = Provide[Container.documents],
) -> Deleted:
    """Remove a document from the graph; see ``Documents.delete``."""
    return await documents.delete(document_id, workspace=workspace, again=self.lost > 0)
