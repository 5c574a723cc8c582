"""LightRAG's shared state for the processes of one worker, so that several of them can work on one workspace.

LightRAG has it for its own multi-process server; prepared in the parent, before the fork, it serves Celery's children
as well. It does not reach beyond that parent.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import TYPE_CHECKING

from app_container.errors import MissingExtraError
from wiring.lightrag import GRAPH_STORAGES
from wiring.lightrag.file_home import claim_configured_home
from wiring.lightrag.schema import make_constraint
from wiring.lightrag.working_dir import claim_working_dir, open_for_children, release_working_dir

if TYPE_CHECKING:
    from app_container.settings import LightRAGSettings, Settings

shared_key: bytes | None = None

_lifeline: list[int] = []
"""A pipe that is open for writing in the parent and its children; for reading, while the shared state is started."""


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

        from wiring.lightrag.models import model_calls_at_once
        from wiring.lightrag.shared_locks import use_table_locks
    except ModuleNotFoundError as error:
        raise MissingExtraError("LightRAG", "lightrag", error.name) from None
    if shared_key is None:
        _lifeline.extend(os.pipe())
        # More than 1 also for a single child, because LightRAG takes 1 for "this process".
        initialize_share_data(max(2, children), model_calls_at_once(settings))
        use_table_locks()
        os.close(_lifeline.pop(0))
        shared_key = bytes(multiprocessing.current_process().authkey)
    # Only now: the process of the shared state, which was just forked, must not hold the folder when all else is gone.
    open_for_children(settings)


def prepare_graph(settings: Settings) -> None:
    """Make the constraint of the configured workspace, or find out that there cannot be one, before anything is forked.

    LightRAG's own storage is left to itself. The files of the workspace have to be here, if it has any.

    Raises:
        DuplicateEntitiesError: the graph holds entities twice; the message names the command that merges them.
        FilesElsewhereError: the workspace's files are in another folder, or on another machine.
        AppContainerError: Neo4j refuses the constraint, or takes too long.
    """
    if settings.lightrag.graph_storage in GRAPH_STORAGES:
        make_constraint(settings, settings.lightrag.workspace)
    claim_configured_home(settings)


def prepare(settings: LightRAGSettings, *, keep: bool = True) -> None:
    """Find mistakes at once instead of with the first task: take the folder, and build a LightRAG.

    In a parent, its forked children then share the modules and the tokenizer that this loads.

    Args:
        settings: how LightRAG is built.
        keep: whether the folder stays taken. A spawned child does not hold it together with its parent, so it has to
            take it itself.

    Raises:
        AppContainerError: LightRAG cannot be built, or another worker has the folder.
    """
    from wiring.lightrag.workspaces import build_lightrag

    claim_working_dir(settings)
    build_lightrag(settings, settings.workspace)
    if not keep:
        release_working_dir(settings)


def _begin_as_child() -> None:
    # Celery's embedded beat is forked by billiard, and would wait at its end for the process of the shared state, which
    # multiprocessing still counts among its children, and fail.
    multiprocessing.process._children.clear()  # type: ignore[attr-defined]  # noqa: SLF001
    _end_with_those_who_use_it()


def _end_with_those_who_use_it() -> None:
    """In the process of the shared state: end with the last process that can ask it, even if that was killed."""
    if len(_lifeline) == 2:  # noqa: PLR2004 - both ends: it is the one being started
        reader, writer = _lifeline
        os.close(writer)
        threading.Thread(target=_end_at_the_end_of, args=(reader,), daemon=True).start()


def _end_at_the_end_of(pipe: int) -> None:
    os.read(pipe, 1)
    os._exit(0)


os.register_at_fork(after_in_child=_begin_as_child)
