"""A file that names a process this project started in the background, and finds it again later."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import psutil

from wiring.whole_file import write_whole


class ProcessFile:
    """Remembers one background process.

    The time at which the process started is kept with its pid, so a file left over by a crash or a reboot never means
    somebody else's process.

    Args:
        path: the file; its folder must exist when ``write`` is called.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, pid: int, **facts: str) -> None:
        """Remember process ``pid``, and ``facts`` about it."""
        record = {"pid": pid, "created": psutil.Process(pid).create_time(), **facts}
        write_whole(self._path, json.dumps(record).encode())

    def read(self) -> dict[str, Any] | None:
        """What was remembered, if that process still runs."""
        try:
            record: dict[str, Any] = json.loads(self._path.read_text())
            process = psutil.Process(record["pid"])
            is_same = abs(process.create_time() - record["created"]) < 1
            return record if is_same and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):
            return None

    def end(self, timeout: float) -> bool:
        """Ask the process to end, wait ``timeout`` seconds, then kill it and what it left. Returns whether it ran."""
        record = self.read()
        if record is not None:
            end_process(record["pid"], timeout)
        self._path.unlink(missing_ok=True)
        return record is not None


def end_process(pid: int, timeout: float) -> None:
    """SIGTERM, and after ``timeout`` seconds SIGKILL, for the process and those it started that still run."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        process.terminate()
        _, alive = psutil.wait_procs(family, timeout)
        for left in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        psutil.wait_procs(alive, timeout)
