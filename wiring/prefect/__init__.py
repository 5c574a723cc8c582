"""Prefect: tasks and the flow ``ingest`` for documents, and tasks of your own that are coroutines.

from wiring.prefect import async_task, inject             # over your own functions
from wiring.prefect import insert_document, query, delete_document, ingest
"""

from app_container.errors import MissingExtraError

try:
    import prefect  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError("wiring.prefect", "prefect,lightrag", error.name) from None

from wiring.prefect.documents import delete_document, insert_document, query
from wiring.prefect.flows import IngestFailedError, ingest, insert_all
from wiring.prefect.injection import inject
from wiring.prefect.report import IngestReport
from wiring.prefect.tasks import RELIABLE, async_task
from wiring.runner import Document

__all__ = [
    "RELIABLE",
    "Document",
    "IngestFailedError",
    "IngestReport",
    "async_task",
    "delete_document",
    "ingest",
    "inject",
    "insert_all",
    "insert_document",
    "query",
]
