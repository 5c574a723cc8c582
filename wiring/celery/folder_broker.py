"""Celery's folder broker and file results, without their races, and without a loss when a process is killed.

kombu's file-system transport opens a message's file under its final name and then writes it; a reader takes no lock, so
it can take a message that is not there yet, and lose it. Here a file gets its name when it is complete, and a reader
claims it by renaming, which only one can do. The same for results, so nobody reads half of one.

kombu also deletes a message when it is read, so those that a killed worker had and did not acknowledge are lost. Here
its claimed file stays until then. To give it back, and to note that it was delivered before, is to rename it once more:
there is no moment in which a kill would lose a message, or make two of it.

kombu creates the file of an exchange's bindings before it locks it, so of two processes that bind a queue at the same
time one is forgotten, and changes it in place. Here one process after the other writes a whole new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
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

from wiring.whole_file import write_whole

URL = "folder://localhost"
RESULTS = f"{__name__}.FileResults+"

DELIVERED_AT_ONCE = 100
"""Messages, before the event loop does something else."""

_CLAIMED = ".claimed"
_REDELIVERED = "_redelivered"

# A scheme of its own, so that whoever uses kombu's "filesystem" in the same process gets kombu's.
TRANSPORT_ALIASES["folder"] = f"{__name__}:Transport"

_log = logging.getLogger("wiring.celery.folder_broker")


class Channel(filesystem.Channel):
    """A channel whose messages are complete before they have a name, and have a file until they are acknowledged.

    The name of a claimed file is its message's delivery tag.
    """

    def basic_consume(self, queue: str, no_ack: bool, callback: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: FBT001 - kombu's signature
        """Consume from ``queue``; without acknowledgement a message is gone when it is delivered."""

        def deliver(message: Any) -> Any:
            if no_ack:
                self._forget(message.delivery_tag)
            return callback(message)

        return super().basic_consume(queue, no_ack, deliver, *args, **kwargs)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002 - kombu's signature
        """The next message of ``queue``, or None."""
        message: Any = super().basic_get(queue, no_ack, **kwargs)
        if message is not None and no_ack:
            self._forget(message.delivery_tag)
        return message

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        """Forget a message."""
        self._forget(delivery_tag)
        super().basic_ack(delivery_tag, multiple)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        """Forget a message, or give it back."""
        super().basic_reject(delivery_tag, requeue)
        if not requeue:
            self._forget(delivery_tag)

    def _restore(self, message: Any) -> None:
        _give_back(Path(self.data_folder_in) / message.delivery_tag)

    def _forget(self, delivery_tag: str) -> None:
        (Path(self.data_folder_in) / delivery_tag).unlink(missing_ok=True)

    def _put(self, queue: str, message: Any, **_: Any) -> None:  # type: ignore[override]  # two stubs disagree
        folder = Path(self.data_folder_out)
        write_whole(folder / f"{time_ns()}_{uuid.uuid4()}.{queue}.msg", dumps(message).encode())

    def _get(self, queue: str, timeout: float | None = None) -> Any:  # noqa: ARG002 - kombu's signature
        folder = Path(self.data_folder_in)
        for name in sorted(os.listdir(folder)):  # noqa: PTH208 - a queue can be long, and names are all it takes
            stem, _, rest = name.partition(".")
            if rest != f"{queue}.msg":
                continue
            claimed = folder / (name + _CLAIMED)
            try:
                (folder / name).rename(claimed)
                payload = loads(claimed.read_bytes().decode())
            except FileNotFoundError:  # another reader was faster, or a worker that starts gave it back
                continue
            except ValueError:  # what a power failure can leave; it must not stop the worker, now and at every start
                unreadable = claimed.replace(folder / f"{name}.unreadable")
                _log.error("%s is no message; the worker goes on without it", unreadable)
                continue
            properties = payload["properties"]
            properties["delivery_tag"] = claimed.name
            properties["delivery_info"]["redelivered"] = stem.endswith(_REDELIVERED)
            return payload
        raise Empty

    def _queue_bind(self, exchange: str, *binding: Any) -> None:
        self._change_table(exchange, binding, bound=True)

    def _delete(self, queue: str, exchange: str, *binding: Any, **_: Any) -> None:
        self._purge(queue)
        self._change_table(exchange, binding, bound=False)

    def _change_table(self, exchange: str, binding: tuple[Any, ...], *, bound: bool) -> None:
        file: Path = self._exchange_file(exchange)  # type: ignore[attr-defined]  # unknown to the stub
        binding = tuple(part or "" for part in binding)
        with (self.control_folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            table: list[Any] = list(self.get_table(exchange))
            if (binding in table) != bound:
                table = [binding, *table] if bound else [other for other in table if other != binding]
                write_whole(file, dumps(table).encode())


class Transport(filesystem.Transport):
    """kombu's file-system transport with the channel above, for Celery's event loop.

    With it, each child of a worker has pipes of its own. Without, children share the locks of two queues, and one that
    is killed while it waits for its next task keeps all others from theirs, for ever.
    """

    Channel = Channel
    implements = filesystem.Transport.implements.extend(asynchronous=True)

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:  # noqa: ARG002 - kombu's signature
        """Look for messages now and then."""
        loop.call_repeatedly(self.polling_interval, self._deliver_what_is_there)

    def _deliver_what_is_there(self) -> None:
        cycle: Any = self.cycle
        for _ in range(DELIVERED_AT_ONCE):
            try:
                cycle.get(self._deliver)
            except Empty:
                return


class FileResults(FilesystemBackend):
    """Celery's file-system results, each written as a whole."""

    def set(self, key: Any, value: Any) -> None:
        """Store ``value`` in the file of ``key``."""
        filename: bytes = self._filename(key)  # type: ignore[attr-defined]  # unknown to the stub
        write_whole(Path(os.fsdecode(filename)), ensure_bytes(value))


def recover(folder: Path) -> int:
    """Give all claimed messages back to their queues; for a worker that starts, when no other has the folder.

    Args:
        folder: the one of the messages.

    Returns:
        How many they were.
    """
    claimed = sorted(folder.glob(f"*{_CLAIMED}"))
    for path in claimed:
        _give_back(path)
    return len(claimed)


def _give_back(claimed: Path) -> None:
    stem, _, rest = claimed.name.removesuffix(_CLAIMED).partition(".")
    with contextlib.suppress(FileNotFoundError):  # it was acknowledged meanwhile, or given back
        claimed.rename(claimed.with_name(f"{stem.removesuffix(_REDELIVERED)}{_REDELIVERED}.{rest}"))
