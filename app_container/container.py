"""The composition root: what exists in a process, on one page."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import threading
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING

from dependency_injector import containers, providers

from app_container.bridge import BridgedDriver
from app_container.bridge_threads import BridgeThreads
from app_container.drivers import build_async_driver, build_sync_driver
from app_container.errors import MissingExtraError
from app_container.execution import lifetime
from app_container.health import Health
from app_container.lifetimes import KeptProcessSingleton, LoopLocalResource, ProcessSingleton
from app_container.metrics import Metrics
from app_container.settings import Settings, load_settings
from app_container.worker_loop import WorkerLoop

if TYPE_CHECKING:
    from neo4j import AsyncDriver, Driver

    from wiring.lightrag.documents import Documents
    from wiring.lightrag.leases.store import LeaseStore
    from wiring.lightrag.workspaces import Workspaces
    from wiring.opentelemetry.telemetry import Telemetry

GRAPH_STORAGES_MODULE = "wiring.lightrag.storages"
VECTOR_STORAGE_MODULE = "wiring.lightrag.vector_storage"


class Container(containers.DeclarativeContainer):
    """Every provider; how long each value lives is the name of its provider's class.

    Override any of them in a test: ``with container.driver.override(fake): ...``.
    """

    config = providers.Configuration(strict=True)
    settings = providers.ThreadSafeSingleton(Settings.model_validate, config)

    metrics: KeptProcessSingleton[Metrics] = KeptProcessSingleton(Metrics)
    telemetry: providers.Factory[Telemetry] = providers.Factory(
        "wiring.opentelemetry.telemetry.open_telemetry", settings.provided.opentelemetry.enabled, metrics
    )

    sync_driver: ProcessSingleton[Driver] = ProcessSingleton(
        build_sync_driver, settings.provided.neo4j, metrics, telemetry
    )
    async_driver: LoopLocalResource[AsyncDriver] = LoopLocalResource(
        build_async_driver, settings.provided.neo4j, metrics, telemetry
    )
    bridge_threads: ProcessSingleton[BridgeThreads] = ProcessSingleton(
        BridgeThreads,
        settings.provided.neo4j.max_connection_pool_size,
        settings.provided.neo4j.connection_acquisition_timeout,
    )
    bridged_driver = providers.Factory(BridgedDriver, sync_driver, bridge_threads)
    driver = providers.Selector(lifetime, process=sync_driver, loop=async_driver, bridge=bridged_driver)

    worker_loop: ProcessSingleton[WorkerLoop] = ProcessSingleton(
        WorkerLoop, settings.provided.worker_loop.shutdown_timeout, metrics
    )
    health: KeptProcessSingleton[Health] = KeptProcessSingleton(
        Health,
        settings.provided.neo4j,
        worker_loop.provider,
        providers.Callable("wiring.lightrag.schema_look.schema_look", settings.provided.lightrag.workspace),
    )
    leases: providers.Factory[LeaseStore] = providers.Factory(
        "wiring.lightrag.leases.store.LeaseStore",
        async_driver.provider,
        settings.provided.neo4j.database,
        settings.provided.lightrag.lease_term,
    )
    rag: ProcessSingleton[Workspaces] = ProcessSingleton(
        "wiring.lightrag.workspaces.Workspaces", settings.provided.lightrag, worker_loop, leases, telemetry
    )
    documents: providers.Factory[Documents] = providers.Factory(
        "wiring.lightrag.documents.Documents", settings.provided.lightrag, rag, metrics, telemetry
    )


_latest: Container | None = None
_making = threading.Lock()


def create_container(
    config_path: str | os.PathLike[str] | None = None, *, wire: Iterable[str | ModuleType] = ()
) -> Container:
    """Read the configuration and build the container of this process. Nothing is connected or started yet.

    The level of the driver's log is set, if the configuration says one.

    Args:
        config_path: the configuration file; None for ``$APP_CONTAINER_CONFIG``, else ``./config.yaml``.
        wire: your modules that ask for injection, as names or modules. Functions that are defined after this call are
            not wired, so name other modules here, not the one that is being imported. This project's own storages are
            wired as soon as they are imported.

    Raises:
        ConfigurationError: with every mistake in the configuration at once.
        MissingExtraError: the configuration asks for OpenTelemetry, which is not installed.
    """
    global _latest  # noqa: PLW0603 - storages are imported later, by LightRAG, and ask for the container then
    settings = load_settings(config_path)
    if settings.logging.neo4j_level is not None:
        logging.getLogger("neo4j").setLevel(settings.logging.neo4j_level)
    if settings.opentelemetry.enabled and not _is_installed("opentelemetry.trace"):
        raise MissingExtraError("opentelemetry.enabled", "opentelemetry", "opentelemetry-api")
    container = Container()
    container.config.from_dict(settings.model_dump())
    own = [name for name in (GRAPH_STORAGES_MODULE, VECTOR_STORAGE_MODULE) if name in sys.modules]
    container.wire(modules=[*wire, *own])
    _latest = container
    return container


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def latest_container() -> Container | None:
    """The container made last in this process: the one that storages are wired to when LightRAG imports them."""
    return _latest


def current_container() -> Container:
    """The container made last in this process, or else one that is made now; for code that nobody hands one.

    Raises:
        ConfigurationError: it has to be made, and cannot.
    """
    with _making:
        return _latest or create_container()
