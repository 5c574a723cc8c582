"""Celery's folder broker and file results, without their races.

kombu's file-system transport opens a message's file under its final name and then writes it; a reader takes no lock, so
it can take a message that is not there yet, and lose it. Here a file gets its name when it is complete, and a reader
claims it by renaming, which only one can do. The same for results, so nobody reads half of one.

It also creates the file of an exchange's bindings before it locks it, so of two processes that bind a queue at the same
time, the first ones of that exchange, one is forgotten. Here that file, too, is complete when it gets its name.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from queue import Empty
from time import time_ns
from typing import Any

from celery.backends.filesystem import FilesystemBackend
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.encoding import ensure_bytes
from kombu.utils.json import dumps, loads

URL = "folder://localhost"
RESULTS = f"{__name__}.FileResults+"

# A scheme of its own, so that whoever uses kombu's "filesystem" in the same process gets kombu's.
TRANSPORT_ALIASES["folder"] = f"{__name__}:Transport"


class Channel(filesystem.Channel):
    """A channel whose messages are complete before they have a name, and are claimed by renaming."""

    def _queue_bind(self, exchange: str, *binding: Any) -> None:
        file: Path = self._exchange_file(exchange)  # type: ignore[attr-defined]  # unknown to the stub
        if not file.exists():
            _create_whole(file, b"[]")
        super()._queue_bind(exchange, *binding)

    def _put(self, queue: str, message: Any, **_: Any) -> None:  # type: ignore[override]  # two stubs disagree
        folder = Path(self.data_folder_out)
        _write_whole(folder / f"{time_ns()}_{uuid.uuid4()}.{queue}.msg", dumps(message).encode())

    def _get(self, queue: str, timeout: float | None = None) -> Any:  # noqa: ARG002 - kombu's signature
        folder = Path(self.data_folder_in)
        for name in sorted(os.listdir(folder)):  # noqa: PTH208 - a queue can be long, and names are all it takes
            if name.partition(".")[2] != f"{queue}.msg":
                continue
            claimed = folder / f"{name}.claimed"
            try:
                (folder / name).rename(claimed)
            except FileNotFoundError:  # another reader was faster
                continue
            payload = loads(claimed.read_bytes().decode())
            claimed.unlink()
            return payload
        raise Empty


class Transport(filesystem.Transport):
    """kombu's file-system transport with the channel above."""

    Channel = Channel


class FileResults(FilesystemBackend):
    """Celery's file-system results, each written as a whole."""

    def set(self, key: Any, value: Any) -> None:
        """Store ``value`` in the file of ``key``."""
        filename: bytes = self._filename(key)  # type: ignore[attr-defined]  # unknown to the stub
        _write_whole(Path(os.fsdecode(filename)), ensure_bytes(value))


def _create_whole(path: Path, data: bytes) -> None:
    partial = _write_beside(path, data)
    with contextlib.suppress(FileExistsError):  # another process was faster
        path.hardlink_to(partial)
    partial.unlink()


def _write_whole(path: Path, data: bytes) -> None:
    _write_beside(path, data).replace(path)


def _write_beside(path: Path, data: bytes) -> Path:
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    partial.write_bytes(data)
    return partial
