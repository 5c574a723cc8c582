"""Where the command line does its work: in the running Celery workers, or else in its own process.

File-based storages belong to one parent process, so while a worker runs, everything goes through it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from app_container import AppContainerError, Container
from app_container.drivers import check_connection
from app_container.errors import MissingExtraError, describe
from app_container.settings import Settings

if TYPE_CHECKING:
    from celery import Celery
    from celery.result import AsyncResult

    from wiring.lightrag.results import Answer, Deleted, Inserted, QueryMode

T = TypeVar("T")

PING_TIMEOUT = 1.0
PING_INTERVAL = 10.0
BROKER_TIMEOUT = 5
PATIENCE = 60.0
"""Seconds without any sign of life from the workers; a solo worker gives none while it runs a task."""


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


class NoNewsError(AppContainerError):
    """The workers do not answer any more."""


class Runner(Protocol):
    """Runs what users do with documents, and says where."""

    where: str

    def insert(self, documents: Sequence[Document], workspace: str | None, done: Callable[[Outcome], None]) -> None:
        """Insert all of them; ``done`` is called for each when it is final."""

    def query(self, text: str, mode: QueryMode, workspace: str | None) -> Answer:
        """Answer a question."""

    def delete(self, document_id: str, workspace: str | None) -> Deleted:
        """Remove a document."""


def choose_runner(container: Container) -> Runner:
    """The workers, if any answers; else this process, which then holds the folder of the storages.

    Raises:
        AppContainerError: the broker does not answer, or a worker that does not answer has the folder.
    """
    settings = container.settings()
    workers = find_workers(settings)
    if workers is not None:
        return workers
    from wiring.lightrag import register_storages
    from wiring.lightrag.processes import prepare

    register_storages()  # finds out at once, and cheaply, whether LightRAG is installed
    check_connection(settings.neo4j)
    quiet_lightrag()
    prepare(settings.lightrag)
    return InThisProcess(container)


def find_workers(settings: Settings) -> InWorkers | None:
    """The Celery workers that answer within a second; None if there are none, or Celery is not installed.

    Raises:
        AppContainerError: the broker does not answer, or Celery cannot use its address.
    """
    try:
        from wiring.celery.options import make_app
    except MissingExtraError:
        return None
    app = make_app(settings.celery)
    names = ping(app)
    return InWorkers(app, names, settings.lightrag.workspace) if names else None


def ping(app: Celery) -> list[str]:
    """The names of the workers that answer within a second.

    Raises:
        AppContainerError: the broker does not answer.
    """
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT)
            answers = app.control.ping(timeout=PING_TIMEOUT, connection=connection)
    except Exception as error:  # noqa: BLE001 - each transport has its own, and Celery wraps only those it knows
        raise AppContainerError(
            f"the Celery broker {app.connection_for_write().as_uri()} does not answer: {describe(error)}; "
            "start it, or set CELERY_BROKER_URL"
        ) from None
    return [name for answer in answers or () for name in answer]


def quiet_lightrag() -> None:
    """On a command line, what went wrong is said once, by us; logs say it as well, LightRAG's with a traceback."""
    import lightrag.utils  # noqa: F401 - it sets the level when it is imported

    for name in ("lightrag", "wiring.lightrag.documents"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


class InWorkers:
    """In the Celery workers.

    Args:
        app: the application that knows the tasks.
        names: the workers that answered.
        workspace: the workspace that is meant when none is named; the workers may be configured with another.
    """

    def __init__(self, app: Celery, names: Sequence[str], workspace: str) -> None:
        self._app = app
        self._workspace = workspace
        self.where = f"in Celery worker {', '.join(names)}"

    def insert(self, documents: Sequence[Document], workspace: str | None, done: Callable[[Outcome], None]) -> None:
        """Send all of them at once; ``done`` is called for each when it is final."""
        waiting = {
            self._send(
                "lightrag.insert_document",
                document.text,
                workspace,
                document_id=document.document_id,
                file_path=document.file_path,
            ): document
            for document in documents
        }
        try:
            for result in self._as_they_end(list(waiting)):
                document = waiting.pop(result)
                if result.successful():
                    done(Outcome(document, cast("Inserted", result.result)))
                else:
                    done(Outcome(document, None, describe(result.result)))
                result.forget()
        except NoNewsError as error:
            for document in waiting.values():
                done(Outcome(document, None, f"{error}; it stays queued"))

    def query(self, text: str, mode: QueryMode, workspace: str | None) -> Answer:
        """Send the question and wait for the answer."""
        answer: Answer = self._call("lightrag.query", text, workspace, mode=mode)
        return answer

    def delete(self, document_id: str, workspace: str | None) -> Deleted:
        """Send the id and wait until the document is gone."""
        deleted: Deleted = self._call("lightrag.delete_document", document_id, workspace)
        return deleted

    def _call(self, task: str, argument: str, workspace: str | None, **options: Any) -> Any:
        (result,) = self._as_they_end([self._send(task, argument, workspace, **options)])
        value = result.result
        failed = result.failed()
        result.forget()
        if failed:
            raise AppContainerError(describe(value))
        return value

    def _send(self, task: str, argument: str, workspace: str | None, **options: Any) -> AsyncResult[Any]:
        from wiring.celery.documents import shown

        args, kwargs = (argument,), options | {"workspace": workspace or self._workspace}
        return self._app.send_task(task, args, kwargs, **shown(args, kwargs))

    def _as_they_end(self, results: list[AsyncResult[Any]]) -> Iterator[AsyncResult[Any]]:
        """Each result when it is there.

        Raises:
            NoNewsError: no worker has answered for ``PATIENCE`` seconds.
        """
        sign_of_life = last_ping = time.monotonic()
        while results:
            ready = [result for result in results if result.ready()]
            results = [result for result in results if result not in ready]
            yield from ready
            now = time.monotonic()
            if ready:
                sign_of_life = now
            elif now - max(sign_of_life, last_ping) > PING_INTERVAL:
                last_ping = now
                if ping(self._app):
                    sign_of_life = time.monotonic()
                elif now - sign_of_life > PATIENCE:
                    raise NoNewsError(f"no Celery worker has answered for {PATIENCE:.0f} s; see its log")
            else:
                time.sleep(0.1)


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
        return self._run(self._container.documents().query(text, mode=mode, workspace=workspace))

    def delete(self, document_id: str, workspace: str | None) -> Deleted:
        """Remove it on the worker loop."""
        return self._run(self._container.documents().delete(document_id, workspace=workspace))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return self._container.worker_loop().run(coroutine)
        except AppContainerError:
            raise
        except Exception as error:  # noqa: BLE001 - the model's or LightRAG's: one line, as through a worker
            raise AppContainerError(describe(error)) from None

    async def _insert(
        self, documents: Sequence[Document], workspace: str | None, done: Callable[[Outcome], None]
    ) -> None:
        service = self._container.documents()

        async def insert(document: Document) -> Inserted:
            options: dict[str, Any] = {"file_path": document.file_path, "workspace": workspace}
            return await service.insert(document.text, document_id=document.document_id, **options)

        await insert_each(documents, insert, done, at_once=8)


async def insert_each(
    documents: Sequence[Document],
    insert: Callable[[Document], Coroutine[Any, Any, Inserted]],
    done: Callable[[Outcome], None],
    *,
    at_once: int,
) -> None:
    """Insert documents, some at a time; one that fails does not stop the others.

    Args:
        documents: what to insert.
        insert: inserts one.
        done: called for each when it is final.
        at_once: how many at a time.
    """
    turns = asyncio.Semaphore(at_once)

    async def take_turn(document: Document) -> None:
        async with turns:
            try:
                result = await insert(document)
            except Exception as error:  # noqa: BLE001 - one document's failure must not stop the others
                done(Outcome(document, None, describe(error)))
            else:
                done(Outcome(document, result))

    async with asyncio.TaskGroup() as group:
        for document in documents:
            group.create_task(take_turn(document))
