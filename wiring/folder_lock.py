"""A lock on a folder: a locked file in it, which names the process that has it.

The lock belongs to the opened file, so forked children inherit it, and it ends with the last process that has the file
open, however that process ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path


def open_lock(folder: Path) -> int:
    """Open the file of the folder's lock, and make both if they are not there. Takes nothing yet.

    Returns:
        The file's descriptor.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)


def take_lock(descriptor: int, owner: int) -> str | None:
    """Take the lock, at once or not at all, and note who has it.

    Args:
        descriptor: what ``open_lock`` returned.
        owner: id of the process to note.

    Returns:
        None if it is taken; else the noted process of those who have it.

    Raises:
        OSError: the folder cannot be written, or its file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "?"
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{owner}\n".encode(), 0)
    return None
