"""Where the command line does its work: in the running Celery workers, or else in its own process.

File-based storages belong to one parent process, so while a worker runs, everything goes through it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from app_container import AppContainerError, Container
from app_container.drivers import check_connection
from app_container.settings import CelerySettings
from wiring.celery_options import celery_options

if TYPE_CHECKING:
    from celery import Celery

    from wiring.lightrag.documents import Answer, Inserted, QueryMode

PING_TIMEOUT = 1.0
BROKER_TIMEOUT = 5
PATIENCE = 60.0
"""Seconds, beyond what one task may take, without any news from the workers."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document to insert: its text, where it is from, and its id if it has one."""

    text: str
    file_path: str
    document_id: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a document: a result, or the reason why there is none."""

    document: Document
    result: Inserted | None
    error: str | None = None


class Runner(Protocol):
    """Runs what users do with documents, and says where."""

    where: str

    def insert(self, documents: Sequence[Document], workspace: str | None, done: Callable[[Outcome], None]) -> None:
        """Insert all of them; ``done`` is called for each when it is final."""

    def query(self, text: str, mode: QueryMode, workspace: str | None) -> Answer:
        """Answer a question."""


def choose_runner(container: Container) -> Runner:
    """The workers, if any answers; else this process, which then holds the folder of the storages.

    Raises:
        AppContainerError: the broker does not answer, or a worker that does not answer has the folder.
    """
    settings = container.settings()
    workers = find_workers(settings.celery)
    if workers is not None:
        return workers
    from wiring.lightrag import register_storages
    from wiring.lightrag.processes import prepare

    register_storages()  # finds out at once, and cheaply, whether LightRAG is installed
    check_connection(settings.neo4j)
    _quiet_lightrag()
    prepare(settings.lightrag, children=0)
    return InThisProcess(container)


def find_workers(settings: CelerySettings) -> InWorkers | None:
    """The Celery workers that answer within a second; None if there are none, or Celery is not installed.

    Raises:
        AppContainerError: the broker does not answer.
    """
    try:
        from celery import Celery
        from celery.exceptions import OperationalError
    except ModuleNotFoundError:
        return None
    app = Celery("lightrag_neo4j")
    app.conf.update(celery_options(settings))
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT)
            answers = app.control.ping(timeout=PING_TIMEOUT, connection=connection)
    except (OperationalError, OSError) as error:
        raise AppContainerError(
            f"the Celery broker {app.connection_for_write().as_uri()} does not answer: {' '.join(str(error).split())}; "
            "start it, or set CELERY_BROKER_URL"
        ) from None
    return InWorkers(app, [name for answer in answers for name in answer]) if answers else None


def _quiet_lightrag() -> None:
    """On a command line, what went wrong is said once, by us; LightRAG would log it as well, with a traceback."""
    import lightrag.utils  # noqa: F401 - it sets the level when it is imported

    logging.getLogger("lightrag").setLevel(logging.CRITICAL)


def describe(error: object) -> str:
    """One line for what went wrong: our own messages as they are, others with the name of their type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, AppContainerError) else f"{type(error).__name__}: {text}"


class InWorkers:
    """In the Celery workers.

    Args:
        app: the application that knows the tasks.
        names: the workers that answered.
    """

    def __init__(self, app: Celery, names: Sequence[str]) -> None:
        self._app = app
        self.where = f"in Celery worker {', '.join(names)}"
        self._patience = float(app.conf.task_time_limit) + PATIENCE

    def insert(self, documents: Sequence[Document], workspace: str | None, done: Callable[[Outcome], None]) -> None:
        """Send all of them at once; ``done`` is called for each when it is final."""
        waiting = {
            self._app.send_task(
                "lightrag.insert_document",
                (document.text,),
                {"document_id": document.document_id, "file_path": document.file_path, "workspace": workspace},
            ): document
            for document in documents
        }
        deadline = time.monotonic() + self._patience
        while waiting:
            ready = [result for result in waiting if result.ready()]
            for result in ready:
                document = waiting.pop(result)
                if result.successful():
                    done(Outcome(document, cast("Inserted", result.result)))
                else:
                    done(Outcome(document, None, describe(result.result)))
                result.forget()
                deadline = time.monotonic() + self._patience
            if time.monotonic() > deadline:
                for document in waiting.values():
                    done(Outcome(document, None, f"no news from the workers for {self._patience:.0f} s; still queued"))
                return
            if not ready:
                time.sleep(0.1)

    def query(self, text: str, mode: QueryMode, workspace: str | None) -> Answer:
        """Send the question and wait for the answer."""
        result = self._app.send_task("lightrag.query", (text,), {"mode": mode, "workspace": workspace})
        from celery.exceptions import TimeoutError as NoAnswerError

        try:
            answer = result.get(timeout=self._patience, propagate=False)
        except NoAnswerError:
            raise AppContainerError(f"no answer from the workers for {self._patience:.0f} s; see their log") from None
        if result.failed():
            raise AppContainerError(describe(answer))
        result.forget()
        found: Answer = answer
        return found


class InThisProcess:
    """On the worker loop of this process.

    Args:
        container: the container of this process.
    """

    where = "in this process, for no Celery worker answered"

    def __init__(self, container: Container) -> None:
        self._container = container

    def insert(self, documents: Sequence[Document], workspace: str | None, done: Callable[[Outcome], None]) -> None:
        """Insert a few at a time; ``done`` is called for each when it is final."""
        self._container.worker_loop().run(self._insert(documents, workspace, done))

    def query(self, text: str, mode: QueryMode, workspace: str | None) -> Answer:
        """Answer on the worker loop."""
        answer: Answer = self._container.worker_loop().run(
            self._container.documents().query(text, mode=mode, workspace=workspace)
        )
        return answer

    async def _insert(
        self, documents: Sequence[Document], workspace: str | None, done: Callable[[Outcome], None]
    ) -> None:
        service = self._container.documents()
        at_once = asyncio.Semaphore(8)

        async def insert(document: Document) -> None:
            async with at_once:
                options: dict[str, Any] = {"file_path": document.file_path, "workspace": workspace}
                try:
                    result = await service.insert(document.text, document_id=document.document_id, **options)
                except Exception as error:  # noqa: BLE001 - one document's failure must not stop the others
                    done(Outcome(document, None, describe(error)))
                else:
                    done(Outcome(document, result))

        async with asyncio.TaskGroup() as group:
            for document in documents:
                group.create_task(insert(document))
