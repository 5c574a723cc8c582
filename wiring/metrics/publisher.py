"""Writes the figures of this process where its worker's main process finds them."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from app_container.errors import describe
from app_container.metrics import Metrics
from wiring.folder_lock import open_lock, take_lock
from wiring.metrics.snapshot import Snapshot
from wiring.whole_file import write_whole

INTERVAL = 1.0
"""Seconds between two snapshots; what a process counted since the last one is lost when it is killed."""

FILE = "figures.json"

_log = logging.getLogger("wiring.metrics")


class Publisher:
    """A thread that writes the figures of this process into a folder of its own, once a second and when it is closed.

    The folder is locked while the process lives, which is how others tell. It stays behind, for what was counted
    counts. The file's time tells that the process was alive then.

    Args:
        metrics: the figures.
        worker: the folder of the worker's processes.
        also: called after each snapshot, in the same thread.
    """

    def __init__(self, metrics: Callable[[], Metrics], worker: Path, also: Callable[[], None] | None = None) -> None:
        self.pid = os.getpid()
        self._since = time.time()
        self._metrics = metrics
        self._folder = worker / f"{self.pid}-{time.time_ns()}"  # a pid may come again
        self._also = also
        self._lock: int | None = None
        self._text = ""
        self._failed = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write for the last time."""
        if not self._ending.is_set():
            self._ending.set()
            self._thread.join(10 * INTERVAL)
            self._write()
            self._let_go()

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _run(self) -> None:
        while not self._ending.is_set():
            self._write()
            if self._also is not None:
                self._also()
            self._ending.wait(INTERVAL)

    def _write(self) -> None:
        try:
            if self._lock is None:
                self._lock = open_lock(self._folder)
                if take_lock(self._lock, self.pid) is not None:
                    self._let_go()  # somebody looks at this moment whether it is taken; next time then
                    return
            text = Snapshot(self.pid, self._since, list(self._metrics().collect())).to_json()
            if text == self._text:
                os.utime(self._folder / FILE)
            else:
                write_whole(self._folder / FILE, text.encode())
            self._text, self._failed = text, False
        except OSError as error:
            self._text = ""
            if isinstance(error, FileNotFoundError):  # somebody removed the folder
                self._let_go()
            if not self._failed:
                self._failed = True
                _log.warning("the figures of process %d cannot be stored: %s", self.pid, describe(error))
