"""What ``lightrag-neo4j check`` finds out: that everything the configuration names is there, and what will be used."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from app_container import Container
from app_container.drivers import ask_server
from app_container.errors import ServerUnavailableError
from app_container.execution import execution
from app_container.pools.pool_budget import DRIVERS_PER_PROCESS, PoolBudget
from app_container.server_settings import read_server_settings
from app_container.settings import Neo4jSettings, Settings
from wiring.runner import ping, quiet_lightrag


def check(container: Container) -> dict[str, Any]:
    """Connect to Neo4j, build a LightRAG, load Celery's broker and result backend; nothing of it is kept.

    The graph is searched for entities that are there twice, and nothing is changed in it. What is not installed is not
    checked, for who uses only the drivers does not need it.

    Returns:
        What will be used, by name, without secrets.

    Raises:
        AppContainerError: something of it cannot be used.
    """
    settings = container.settings()
    neo4j = _neo4j(container, settings.neo4j)
    lightrag = _lightrag(settings, container)
    celery, processes = _celery(settings)
    return neo4j | lightrag | celery | _server(settings.neo4j, processes or 1)


def _neo4j(container: Container, settings: Neo4jSettings) -> dict[str, Any]:
    readiness = container.health().ready_sync()
    if readiness.reason is not None:
        raise ServerUnavailableError(readiness.reason)
    return {
        "uri": settings.uri,
        "username": settings.username,
        "database": settings.database,
        "server": readiness.server,
        "edition": readiness.edition,
        "connect_ms": readiness.connect_ms,
        "latency_ms": readiness.latency_ms,
        "max_connection_pool_size": settings.max_connection_pool_size,
        "connection_acquisition_timeout": settings.connection_acquisition_timeout,
        "driver": execution().reason,
        "schema": _in_words(readiness.schema),
    }


def _in_words(schema: Mapping[str, bool] | None) -> dict[str, str] | str:
    if schema is None:
        return "unknown"
    return {part: "there" if is_there else "missing" for part, is_there in schema.items()}


def _server(settings: Neo4jSettings, processes: int) -> dict[str, Any]:
    """What the server allows, and what its own settings should be."""
    its_settings = ask_server(settings, lambda driver: read_server_settings(driver, settings.database))
    budget = PoolBudget(processes, settings.max_connection_pool_size, its_settings.threads)
    warnings = [] if budget.warning is None else [budget.warning]
    return {
        "pool_budget": {
            "processes": budget.processes,
            "drivers_per_process": DRIVERS_PER_PROCESS,
            "worst_case": budget.worst_case,
            "server_threads": "unknown" if budget.limit is None else budget.limit,
        },
        "advice": [*warnings, *its_settings.advice],
    }


def _lightrag(settings: Settings, container: Container) -> dict[str, Any]:
    if importlib.util.find_spec("lightrag") is None:
        return {"lightrag": "not installed"}
    from wiring.lightrag import GRAPH_STORAGES
    from wiring.lightrag.schema import check_duplicates
    from wiring.lightrag.workspaces import build_lightrag

    quiet_lightrag()
    workspace = container.rag().check_name(None)
    build_lightrag(settings.lightrag, workspace)
    if settings.lightrag.graph_storage in GRAPH_STORAGES:
        check_duplicates(settings)
    return {
        "graph_storage": settings.lightrag.graph_storage,
        "llm": f"{settings.lightrag.llm.function}, model {settings.lightrag.llm.model}",
        "embedding": f"{settings.lightrag.embedding.function}, model {settings.lightrag.embedding.model}",
        "workspace": workspace,
        "working_dir": str(settings.lightrag.working_dir),
    }


def _celery(settings: Settings) -> tuple[dict[str, Any], int]:
    """What there is to tell, and how many processes of running workers there are."""
    if importlib.util.find_spec("celery") is None:
        return {"celery": "not installed"}, 0
    from wiring.celery.options import make_app
    from wiring.celery.running import count_processes

    app = make_app(settings.celery)
    in_a_folder = settings.celery.broker_url.startswith("filesystem://")
    workers = ping(app)
    facts = {
        "broker": f"the folder {settings.celery.data_dir}" if in_a_folder else app.connection_for_write().as_uri(),
        "workers": ", ".join(workers) or "none answers",
    }
    return facts, count_processes(app, workers)
