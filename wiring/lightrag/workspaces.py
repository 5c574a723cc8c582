"""One LightRAG per workspace and process."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from app_container.errors import AppContainerError, ConfigurationError, MissingExtraError, Problem, WorkerLoopError
from app_container.settings import is_workspace_name
from wiring.lightrag.errors import InvalidDocumentError
from wiring.lightrag.file_home import claim_home
from wiring.lightrag.ingest import Ingest
from wiring.lightrag.leases.keeping import alone
from wiring.lightrag.working_dir import claim_working_dir, release_working_dir, unwritable
from wiring.opentelemetry.telemetry import OFF, Telemetry

if TYPE_CHECKING:  # LightRAG takes seconds to import; the container, which names this module, must not
    from app_container.settings import LightRAGSettings
    from app_container.worker_loop import WorkerLoop
    from wiring.lightrag.leases.store import LeaseStore
    from wiring.lightrag.pipeline import Pipeline

T = TypeVar("T")

CLOSE_TIMEOUT = 10.0

DOCUMENTS_AT_ONCE = 64
"""How many documents LightRAG takes up before it looks whether something else has to be done; 500 by its default."""

_log = logging.getLogger("wiring.lightrag")


class Workspaces:
    """Builds a LightRAG for a workspace when it is first asked for, and keeps it.

    A LightRAG object belongs to the event loop it was initialized on: its locks and queues do, whatever its storages
    can do. So all of them live on ``worker_loop``, and ``get`` is awaited there.

    Args:
        settings: how to build them.
        worker_loop: the loop they live on.
        leases: where the leases of workspaces are.
        telemetry: tells what is done with documents.
    """

    def __init__(
        self, settings: LightRAGSettings, worker_loop: WorkerLoop, leases: LeaseStore, telemetry: Telemetry = OFF
    ) -> None:
        self._settings = settings
        self.worker_loop = worker_loop
        self._leases = leases
        self._telemetry = telemetry
        self._built: dict[str, Pipeline] = {}
        self._ingests: dict[str, Ingest] = {}
        self._building = asyncio.Lock()
        self._has_claim = False

    async def get(self, workspace: str | None = None) -> Pipeline:
        """The LightRAG of ``workspace``; None is the configured one.

        Raises:
            AppContainerError: the name cannot be one, or LightRAG cannot be built; the message says why.
        """
        name = self.check_name(workspace)
        async with self._building:
            if name not in self._built:
                self._claim_working_dir()
                rag = build_lightrag(self._settings, name)
                await self._leases.ensure_schema()
                await claim_home(self._leases.session, self._settings, name)
                await _initialize(rag, self._settings)
                rag.leases = self._leases
                rag.telemetry = self._telemetry
                self._built[name] = rag
            return self._built[name]

    def ingest(self, rag: Pipeline) -> Ingest:
        """The one run of LightRAG's pipeline that this process has for the workspace of ``rag``."""
        if rag.workspace not in self._ingests:
            self._ingests[rag.workspace] = Ingest(rag, self._leases)
        return self._ingests[rag.workspace]

    async def alone(self, rag: Pipeline, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do what nobody else may do anything beside, in the workspace of ``rag``; waits for its turn.

        Raises:
            LeaseLostError: another process may have the workspace by now; the work was cancelled.
        """
        return await alone(self._leases, rag.workspace, work)

    def connections_in_use(self) -> int:
        """How many connections to Neo4j the LightRAGs of this process use at this moment."""
        storages = [rag.chunk_entity_relation_graph for rag in self._built.values()]
        # They share the driver, so each tells the same. LightRAG's own storage has a driver of its own, and tells none.
        return max((each.connections_in_use() for each in storages if hasattr(each, "connections_in_use")), default=0)

    def check_name(self, workspace: str | None) -> str:
        """The name of the workspace that is meant.

        Raises:
            InvalidDocumentError: it cannot be a name.
            AppContainerError: ``$NEO4J_WORKSPACE`` would put its graph elsewhere.
        """
        name = self._settings.workspace if workspace is None else workspace
        check_workspace(name)
        elsewhere = os.environ.get("NEO4J_WORKSPACE", "").strip()
        if elsewhere and elsewhere != name:
            raise AppContainerError(
                f"$NEO4J_WORKSPACE is {elsewhere!r} and would put the graph of workspace {name!r} there; "
                "unset it and use LIGHTRAG_WORKSPACE"
            )
        return name

    def close(self) -> None:
        """Finalize all of them, which flushes what file-based storages still hold. Bounded."""
        if self._built:
            try:
                self.worker_loop.run(self._finalize(), CLOSE_TIMEOUT)
            except WorkerLoopError:
                self._built.clear()  # the loop was closed first, and they with it
            except TimeoutError:
                self._built.clear()
                _log.warning("LightRAG did not close within %.0f s and was abandoned", CLOSE_TIMEOUT)
        if self._has_claim:
            self._has_claim = False
            release_working_dir(self._settings)

    def _claim_working_dir(self) -> None:
        if not self._has_claim:
            claim_working_dir(self._settings)
            self._has_claim = True

    async def _finalize(self) -> None:
        while self._built:
            name, rag = self._built.popitem()
            if ingest := self._ingests.pop(name, None):
                await ingest.stop()
            # Their workers survive a cancellation while they wait for the model, so the loop could not end.
            for function in (*rag.role_llm_funcs.values(), rag.embedding_func.func):
                await function.shutdown(graceful=False)
            await rag.finalize_storages()


def check_workspace(name: str) -> None:
    """Refuse what cannot be the name of a workspace.

    Raises:
        InvalidDocumentError: it cannot be one.
    """
    if not isinstance(name, str) or not is_workspace_name(name):
        raise InvalidDocumentError(f"workspace {name!r} is not a name; use letters, digits, '_', '-' and '.'")


def build_lightrag(settings: LightRAGSettings, workspace: str) -> Pipeline:
    """A LightRAG for ``workspace``, not initialized yet.

    Raises:
        MissingExtraError: LightRAG is not installed.
        ConfigurationError: LightRAG does not know a storage, an option or a function that the settings name, or the
            files in ``working_dir`` do not fit them.
    """
    try:
        from wiring.lightrag import register_storages
        from wiring.lightrag.models import bundled_tokenizer, embedding_function, llm_function
        from wiring.lightrag.pipeline import Pipeline
    except ModuleNotFoundError as error:
        raise MissingExtraError("LightRAG", "lightrag", error.name) from None
    # Only now, inside of the process: what a process was started with is shown to others, by Docker for instance.
    os.environ.update({name: value.get_secret_value() for name, value in settings.environment.items()})
    register_storages()
    check_storages(settings)
    try:
        return Pipeline(
            working_dir=str(settings.working_dir),
            workspace=workspace,
            graph_storage=settings.graph_storage,
            kv_storage=settings.kv_storage,
            vector_storage=settings.vector_storage,
            doc_status_storage=settings.doc_status_storage,
            llm_model_func=llm_function(settings.llm),
            llm_model_name=settings.llm.model,
            embedding_func=embedding_function(settings.embedding),
            tokenizer=bundled_tokenizer(),
            **{"pipeline_scheduling_page_size": DOCUMENTS_AT_ONCE} | settings.options,
        )
    except OSError as error:
        raise unwritable(settings, error) from None
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigurationError(_refused(settings, error)) from None


async def _initialize(rag: Pipeline, settings: LightRAGSettings) -> None:
    from wiring.lightrag.first_load import loading

    try:
        async with loading(rag.workspace):
            await rag.initialize_storages()
    except OSError as error:
        raise unwritable(settings, error) from None
    except (AssertionError, ValueError) as error:
        raise ConfigurationError(_refused(settings, error)) from None


def _refused(settings: LightRAGSettings, error: Exception) -> Problem:
    if "dim mismatch" in (found := " ".join(str(error).split())):
        fix = "after a change of the embedding, use another LIGHTRAG_WORKSPACE and insert the documents there"
    elif isinstance(error, json.JSONDecodeError):
        fix = f"a file in {settings.working_dir.absolute()} is damaged; restore it, or use another LIGHTRAG_WORKSPACE"
    else:
        fix = "change the setting it names"
    return Problem("configuration", "lightrag", (), f"LightRAG refuses it: {found}", fix)


def check_storages(settings: LightRAGSettings) -> None:
    """Check the names of LightRAG's own storages.

    Raises:
        ConfigurationError: LightRAG does not know one of them, with those it knows.
    """
    from lightrag.kg import STORAGE_IMPLEMENTATIONS

    names = {
        "kv_storage": settings.kv_storage,
        "vector_storage": settings.vector_storage,
        "doc_status_storage": settings.doc_status_storage,
    }
    problems = [
        Problem(
            "configuration", f"lightrag.{key}", (f"LIGHTRAG_{key.upper()}",), f"found {name!r}", f"use one of {known}"
        )
        for key, name in names.items()
        if name not in (known := STORAGE_IMPLEMENTATIONS[key.upper()]["implementations"])
    ]
    if problems:
        raise ConfigurationError(*problems)
