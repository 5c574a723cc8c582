"""What ``lightrag-neo4j check`` finds out: that everything the configuration names is there, and what will be used."""

from __future__ import annotations

import importlib.util
import time
from typing import Any

from app_container import Container
from app_container.drivers import check_connection
from app_container.execution import execution
from app_container.settings import Settings
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
    started = time.monotonic()
    server = check_connection(settings.neo4j)
    neo4j = {
        "uri": settings.neo4j.uri,
        "username": settings.neo4j.username,
        "database": settings.neo4j.database,
        "server": server,
        "connect_ms": round((time.monotonic() - started) * 1000, 1),
        "max_connection_pool_size": settings.neo4j.max_connection_pool_size,
        "connection_acquisition_timeout": settings.neo4j.connection_acquisition_timeout,
        "driver": execution().reason,
    }
    return neo4j | _lightrag(settings, container) | _celery(settings)


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


def _celery(settings: Settings) -> dict[str, Any]:
    if importlib.util.find_spec("celery") is None:
        return {"celery": "not installed"}
    from wiring.celery.options import make_app

    app = make_app(settings.celery)
    in_a_folder = settings.celery.broker_url.startswith("filesystem://")
    return {
        "broker": f"the folder {settings.celery.data_dir}" if in_a_folder else app.connection_for_write().as_uri(),
        "workers": ", ".join(ping(app)) or "none answers",
    }
