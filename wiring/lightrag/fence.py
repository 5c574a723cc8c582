"""LightRAG's fence around a workspace in which a process died while it deleted something.

LightRAG then refuses every change, for as long as its shared state lives. Deleting the same document again completes
what was begun, so that is what opens the fence.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from wiring.lightrag.errors import WorkspaceBlockedError

if TYPE_CHECKING:
    from lightrag import LightRAG


async def check_open(rag: LightRAG) -> None:
    """See whether the workspace takes changes, once LightRAG has refused one.

    Raises:
        WorkspaceBlockedError: it does not.
    """
    from lightrag.kg.shared_storage import get_namespace_data

    fence = _fence(await get_namespace_data("pipeline_status", workspace=rag.workspace))
    if fence is None:
        return
    document_id = _deleted_document(fence)
    if document_id is not None and await rag.doc_status.get_by_id(document_id) is None:
        await open_for_deletion(rag, document_id)  # another worker has completed the deletion
        return
    if document_id is None:
        what, fix = f"in the middle of a change ({fence.get('kind')})", "restart the worker, then do again what was cut"
    else:
        what = f"while it deleted document {document_id!r}"
        fix = f"delete that again (lightrag-neo4j delete {shlex.quote(document_id)})"
    raise WorkspaceBlockedError(f"workspace {rag.workspace!r} takes no changes, for a process died {what}; {fix}")


async def open_for_deletion(rag: LightRAG, document_id: str) -> bool:
    """Open the workspace again for those who delete the document whose deletion was cut. Returns whether that is so."""
    from lightrag.kg.shared_storage import get_namespace_data, get_namespace_lock

    status = await get_namespace_data("pipeline_status", workspace=rag.workspace)
    async with get_namespace_lock("pipeline_status", workspace=rag.workspace):
        fence = _fence(status)
        if fence is None or _deleted_document(fence) != document_id:
            return False
        status.update({"recovery_required": None, "operation_record": None})
        return True


def _fence(status: Any) -> dict[str, Any] | None:
    fence: dict[str, Any] | None = status.get("recovery_required")
    return fence or None


def _deleted_document(fence: dict[str, Any]) -> str | None:
    record = fence.get("operation_record") or {}
    return record.get("doc_id") if fence.get("kind") == "delete" else None
