"""The figures of all processes of one worker, living and dead, as its main process sees them."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from prometheus_client import Metric

from wiring.folder_lock import open_lock, take_lock
from wiring.metrics.publisher import FILE
from wiring.metrics.snapshot import Snapshot, add_up
from wiring.whole_file import write_whole

NAME = "name"
PAST = "past.json"


class WorkerFigures:
    """Adds up what the processes of a worker wrote; a registry of prometheus_client takes it as a collector.

    Args:
        folder: the worker's folder; each process has one of its own in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._past = read_past(folder)
        self._adding = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """The sums, with what dead processes counted; their gauges are gone with them."""
        with self._adding:
            living = self._fold()
            return iter(add_up(living, self._past))

    def fold(self) -> None:
        """Keep what dead processes counted, and remove their folders, so that they do not pile up."""
        with self._adding:
            self._fold()

    def _fold(self) -> list[Snapshot]:
        living, ended = [], []
        for folder in process_folders(self._folder):
            alive = is_alive(folder)  # before it is read, or its last words would be missed
            snapshot = read_snapshot(folder)
            if snapshot is None:
                continue
            if alive:
                living.append(snapshot)
            else:
                ended.append(folder)
                self._past = add_up([], [*self._past, *snapshot.metrics])
        if ended:
            self._write_past()
        for folder in ended:
            shutil.rmtree(folder, ignore_errors=True)
        return living

    def _write_past(self) -> None:
        with suppress(OSError):  # then only those who read the folder miss it
            write_whole(self._folder / PAST, Snapshot(os.getpid(), time.time(), self._past).to_json().encode())


def new_folder(data_dir: Path, name: str) -> Path:
    """A folder for the worker whose main process this is; those of workers that are gone are removed.

    Args:
        data_dir: where they all are.
        name: what the worker is called.

    Raises:
        OSError: it cannot be made.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    for folder in worker_folders(data_dir):
        if not any(is_alive(process) for process in process_folders(folder)):
            shutil.rmtree(folder, ignore_errors=True)
    folder = data_dir.absolute() / f"{os.getpid()}-{int(time.time())}"
    folder.mkdir()
    (folder / NAME).write_text(name)
    return folder


def worker_name(worker: Path) -> str:
    """What the worker is called."""
    try:
        return (worker / NAME).read_text()
    except OSError:
        return worker.name


def read_past(worker: Path) -> list[Metric]:
    """What processes of the worker counted that do not run any more."""
    try:
        return Snapshot.from_json((worker / PAST).read_text()).metrics
    except (OSError, ValueError):
        return []


def worker_folders(data_dir: Path) -> list[Path]:
    """The folders of workers, running or not."""
    return sorted(folder for folder in data_dir.glob("*-*") if folder.is_dir())


def process_folders(worker: Path) -> list[Path]:
    """The folders of a worker's processes, running or not."""
    return sorted(folder for folder in worker.glob("*") if folder.is_dir())


def is_alive(process: Path) -> bool:
    """Whether the process whose folder it is still runs."""
    try:
        descriptor = open_lock(process)
    except OSError:
        return False
    try:
        return take_lock(descriptor, os.getpid()) is not None
    except OSError:
        return True  # nobody can tell here
    finally:
        os.close(descriptor)


def read_snapshot(process: Path) -> Snapshot | None:
    """What the process wrote last; None if that is nothing yet."""
    try:
        return Snapshot.from_json((process / FILE).read_text())
    except (OSError, ValueError):
        return None
