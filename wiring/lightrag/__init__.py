"""LightRAG on the container's drivers: storages by name, and one LightRAG per workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app_container.container import GRAPH_STORAGES_MODULE, VECTOR_STORAGE_MODULE
from app_container.errors import MissingExtraError

if TYPE_CHECKING:
    from app_container import Container

GRAPH_STORAGES = ("Neo4JHybridStorage", "Neo4JSyncStorage", "Neo4JAsyncStorage")
VECTOR_STORAGE = "Neo4JVectorStorage"

__all__ = ["GRAPH_STORAGES", "VECTOR_STORAGE", "register_storages"]


def register_storages(container: Container | None = None) -> None:
    """Make this project's storages known to LightRAG by name.

    Afterwards ``LightRAG(graph_storage="Neo4JHybridStorage")`` works, and so does the name in
    ``LIGHTRAG_GRAPH_STORAGE``. Calling it again changes nothing.

    Args:
        container: where the storages get their drivers; None for the one ``create_container`` made last.

    Raises:
        MissingExtraError: LightRAG is not installed.
    """
    try:
        from lightrag.kg import STORAGE_IMPLEMENTATIONS, STORAGES

        import wiring.lightrag.upstream_storage  # noqa: F401 - before LightRAG does, and changes the driver's log
    except ModuleNotFoundError as error:
        raise MissingExtraError("LightRAG", "lightrag", error.name) from None
    ours = [("GRAPH_STORAGE", name, GRAPH_STORAGES_MODULE) for name in GRAPH_STORAGES]
    ours.append(("VECTOR_STORAGE", VECTOR_STORAGE, VECTOR_STORAGE_MODULE))
    for kind, name, module in ours:
        STORAGES[name] = module
        if name not in (known := STORAGE_IMPLEMENTATIONS[kind]["implementations"]):
            known.append(name)
    STORAGES["RedisDocStatusStorage"] = "wiring.lightrag.redis_doc_status"  # LightRAG's own, for several workers
    if container is not None:
        container.wire(modules=[GRAPH_STORAGES_MODULE, VECTOR_STORAGE_MODULE])
