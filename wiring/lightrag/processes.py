"""LightRAG's shared state for the processes of one worker, so that several of them can work on one workspace.

LightRAG has it for its own multi-process server; prepared in the parent, before the fork, it serves Celery's children
as well. It does not reach beyond that parent.
"""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

from app_container.errors import MissingExtraError
from wiring.lightrag.working_dir import claim_working_dir, open_for_children

if TYPE_CHECKING:
    from app_container.settings import LightRAGSettings

shared_key: bytes | None = None


def share(settings: LightRAGSettings, children: int) -> None:
    """Do in the parent, before any child is forked, what its children rely on.

    Args:
        settings: where the file-based storages are.
        children: how many processes will be forked; 0 if this one does the work itself.

    Raises:
        MissingExtraError: LightRAG is not installed.
        AppContainerError: the folder cannot be written.
    """
    global shared_key  # noqa: PLW0603 - it is a fact of the process, and children inherit it by the fork
    if not children:
        return
    try:
        from lightrag.kg.shared_storage import initialize_share_data
    except ModuleNotFoundError as error:
        raise MissingExtraError("LightRAG", "lightrag", error.name) from None
    # More than 1 also for a single child, because LightRAG takes 1 for "this process".
    initialize_share_data(workers=max(2, children))
    shared_key = bytes(multiprocessing.current_process().authkey)
    # Only now: the process of the shared state, which was just forked, must not hold the folder when all else is gone.
    open_for_children(settings)


def prepare(settings: LightRAGSettings) -> None:
    """Find mistakes at once instead of with the first task: take the folder, and build a LightRAG.

    In a parent, its children then share the modules and the tokenizer that this loads.

    Raises:
        AppContainerError: LightRAG cannot be built, or another worker has the folder.
    """
    from wiring.lightrag.workspaces import build_lightrag

    claim_working_dir(settings)
    build_lightrag(settings, settings.workspace)
