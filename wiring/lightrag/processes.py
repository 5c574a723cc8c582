"""What the processes of one worker share, so that several of them can work on one workspace.

LightRAG's file-based storages load a file once and write it as a whole, so two processes that know nothing of each
other lose each other's writes. LightRAG has a shared state for its own multi-process server; prepared in the parent,
before the fork, it serves Celery's children as well. It does not reach beyond that parent: a second worker on the same
folder is refused.
"""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING

from app_container.errors import AppContainerError, MissingExtraError

if TYPE_CHECKING:
    from filelock import FileLock

    from app_container.settings import LightRAGSettings

FILE_BASED = ("Json", "Nano", "NetworkX", "Faiss")

shared_key: bytes | None = None
_lock: FileLock | None = None


class WorkingDirInUseError(AppContainerError):
    """Another process works on the folder of the file-based storages."""


def prepare(settings: LightRAGSettings, children: int) -> None:
    """Do in the parent, before any child is forked, what its children rely on.

    Args:
        settings: what the children will build LightRAG with; building one here finds mistakes in it, and loads the
            modules and the tokenizer that the children then share.
        children: how many processes will be forked; 0 if this one does the work itself.

    Raises:
        AppContainerError: LightRAG cannot be built, or another process works on the folder.
    """
    global shared_key  # noqa: PLW0603 - it is a fact of the process, and children inherit it by the fork
    try:
        from lightrag.kg.shared_storage import initialize_share_data
    except ModuleNotFoundError as error:
        raise MissingExtraError("LightRAG", "lightrag", error.name) from None
    from wiring.lightrag import storages  # noqa: F401 - loaded here, shared by the children
    from wiring.lightrag.workspaces import build_lightrag

    hold_working_dir(settings)
    if children:
        # More than 1 also for a single child, because LightRAG takes 1 for "this process".
        initialize_share_data(workers=max(2, children))
        shared_key = bytes(multiprocessing.current_process().authkey)
    build_lightrag(settings, settings.workspace)


def hold_working_dir(settings: LightRAGSettings) -> None:
    """Take the folder of the file-based storages for this process and those it will fork.

    Raises:
        WorkingDirInUseError: another process has it, with its id.
    """
    from filelock import FileLock, Timeout

    global _lock  # noqa: PLW0603 - as above
    names = (settings.kv_storage, settings.vector_storage, settings.doc_status_storage)
    if _lock is not None or not any(name.startswith(FILE_BASED) for name in names):
        return
    try:
        settings.working_dir.mkdir(parents=True, exist_ok=True)
        owner = settings.working_dir / ".owner"
        lock = FileLock(settings.working_dir / ".lock")
        lock.acquire(timeout=0)
        owner.write_text(str(os.getpid()))
    except Timeout:
        holder = owner.read_text() if owner.exists() else "?"
        raise WorkingDirInUseError(
            f"{settings.working_dir} is in use by process {holder}, and its files would lose what a second one writes; "
            "use that worker, or another LIGHTRAG_WORKING_DIR"
        ) from None
    except OSError as error:
        raise AppContainerError(
            f"{settings.working_dir} cannot be written: {error.strerror}; set LIGHTRAG_WORKING_DIR"
        ) from None
    _lock = lock


def release() -> None:
    """Give the folder back; the end of the process does so too."""
    global _lock  # noqa: PLW0603 - as above
    if _lock is not None:
        _lock.release()
        _lock = None
