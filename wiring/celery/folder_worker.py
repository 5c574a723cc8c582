"""Who may receive from the folder broker: one worker at a time, which takes up what one that was killed left."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

from app_container.errors import AppContainerError
from wiring.celery.folder_broker import Transport, recover
from wiring.folder_lock import open_lock, take_lock

_log = logging.getLogger("wiring.celery.folder_worker")

_held: dict[Path, int] = {}
"""The folders whose lock this process took, and its id; children inherit both, and hold the lock with it."""


class FolderInUseError(AppContainerError):
    """Another worker receives from the folder."""


def start_worker(sender: Any, **_: Any) -> None:
    """Receiver of Celery's ``worker_init``: take the folder before anything is forked, or end with one line.

    Does nothing for a worker with another broker. Clients send no such signal; they share the folder with its worker.
    """
    connection = sender.app.connection_for_read()
    if not issubclass(connection.get_transport_cls(), Transport):
        return
    try:
        take_folder(Path(connection.transport_options["data_folder_in"]))
    except AppContainerError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None


def take_folder(folder: Path) -> None:
    """Take the folder for this process and its children until the last of them ends, and recover its messages.

    Raises:
        FolderInUseError: another worker has it; the message tells the process.
        AppContainerError: the folder cannot be written.
    """
    try:
        if _held.get(folder) != os.getpid():
            descriptor = open_lock(folder)
            holder = take_lock(descriptor, os.getpid())
            if holder is not None:
                os.close(descriptor)
                raise FolderInUseError(
                    f"{folder} is in use by worker {holder} or a process it started, and a second one would take its "
                    "tasks; set another CELERY_DATA_DIR, or a broker for several workers, such as redis:// or amqp://, "
                    "in CELERY_BROKER_URL"
                )
            _held[folder] = os.getpid()
        found = recover(folder)
    except OSError as error:
        raise AppContainerError(
            f"{error.filename or folder} cannot be written: {error.strerror}; set CELERY_DATA_DIR"
        ) from None
    if found:
        _log.warning("took up %d messages that a worker had when it was killed", found)
