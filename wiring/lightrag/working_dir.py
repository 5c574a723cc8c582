"""Who may work on the folder of LightRAG's file-based storages: the processes of one worker, and nobody else.

These storages load a file once and write it as a whole, so a second worker on the same folder would lose what the first
one wrote. The right to the folder is a lock on a file in it. A worker's parent opens that file before it forks, and its
children inherit it *opened*; the lock belongs to the opened file, so they hold it together. It ends with the last of
them, however they end: a child that outlives its parent still keeps others out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from app_container.errors import AppContainerError
from wiring.folder_lock import open_lock, take_lock

if TYPE_CHECKING:
    from app_container.settings import LightRAGSettings

FILE_BASED = ("Json", "Nano", "NetworkX", "Faiss")


class WorkingDirInUseError(AppContainerError):
    """Another worker, or another process, works on the folder of the file-based storages."""


@dataclass(slots=True)
class _LockFile:
    descriptor: int
    is_for_children: bool = False
    opened_by: int = field(default_factory=os.getpid)
    claims: int = 0

    @property
    def is_ours(self) -> bool:
        return self.opened_by == os.getpid()


_opened: dict[Path, _LockFile] = {}


def file_based(settings: LightRAGSettings) -> list[str]:
    """Those of the configured storages that are files."""
    names = (settings.kv_storage, settings.vector_storage, settings.doc_status_storage)
    return sorted({name for name in names if name.startswith(FILE_BASED)})


def open_for_children(settings: LightRAGSettings) -> None:
    """Let the processes that will be forked from this one hold the folder together. Takes nothing yet.

    Only for children that share LightRAG's state, see ``processes.py``: others would lose each other's writes.

    Raises:
        AppContainerError: the folder cannot be written.
    """
    if not file_based(settings):
        return
    folder = settings.working_dir.absolute()
    file = _opened.get(folder)
    if file is None or not file.is_ours:
        file = _opened[folder] = _LockFile(_open(settings, folder))
    file.is_for_children = True


def claim_working_dir(settings: LightRAGSettings) -> None:
    """Take the folder for this process, and those that share it. Does nothing when the storages need no folder.

    Raises:
        WorkingDirInUseError: somebody else has it; the message tells the process.
        AppContainerError: the folder cannot be written.
    """
    if not file_based(settings):
        return
    folder = settings.working_dir.absolute()
    file = _opened.get(folder)
    if file is None or not (file.is_ours or file.is_for_children):
        file = _opened[folder] = _LockFile(_open(settings, folder))
    try:
        holder = take_lock(file.descriptor, file.opened_by)
    except OSError as error:
        raise unwritable(settings, error) from None
    if holder is not None:
        raise WorkingDirInUseError(
            f"{settings.working_dir} is in use by process {holder} or one it started, and its files would lose what a "
            "second one writes; use that worker, or another LIGHTRAG_WORKING_DIR"
        )
    file.claims += 1


def release_working_dir(settings: LightRAGSettings) -> None:
    """Take back one claim; after the last one the folder is free, unless it is held together with other processes."""
    folder = settings.working_dir.absolute()
    file = _opened.get(folder)
    if file is not None and file.is_ours and not file.is_for_children:
        file.claims -= 1
        if file.claims <= 0:
            os.close(_opened.pop(folder).descriptor)


def unwritable(settings: LightRAGSettings, error: OSError) -> AppContainerError:
    """The one line for a folder that cannot be used."""
    return AppContainerError(
        f"{error.filename or settings.working_dir} cannot be written: {error.strerror}; set LIGHTRAG_WORKING_DIR"
    )


def _open(settings: LightRAGSettings, folder: Path) -> int:
    try:
        return open_lock(folder)
    except OSError as error:
        raise unwritable(settings, error) from None
