"""The first loading of a workspace's files, done again when the process that did it was killed.

LightRAG lets one process load a file-based storage into the shared state, and notes that before it does so. If that
process is killed in between, all others take the empty state for the file's content, and write it over the file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lightrag.kg import shared_storage
from lightrag.kg.shared_storage import get_namespace_data, get_storage_keyed_lock

_NAMESPACE = "lightrag_neo4j_first_load"


@asynccontextmanager
async def loading(workspace: str) -> AsyncIterator[None]:
    """Initialize the storages of ``workspace`` in here; one process at a time does.

    A process that is gone does not keep the others waiting: LightRAG takes the lock back from it.
    """
    async with get_storage_keyed_lock(workspace, namespace=_NAMESPACE):
        state = await get_namespace_data(_NAMESPACE, workspace=workspace)
        if state.get("started") and not state.get("loaded"):
            _forget(workspace)
        state["started"] = True
        yield
        state["loaded"] = True


def _forget(workspace: str) -> None:
    """Let the next process load everything. Nothing is lost: no process has got to changing anything yet."""
    flags, dicts = shared_storage._init_flags, shared_storage._shared_dicts  # noqa: SLF001 - there is no public way
    for namespace in [name for name in flags.keys() if name.startswith(f"{workspace}:")]:  # noqa: SIM118 - a proxy
        del flags[namespace]
        if namespace in dicts:  # the flag is set first
            dicts[namespace].clear()
