"""Locks of LightRAG's shared state that a killed process cannot keep.

Two of LightRAG's locks are plain locks in the process of the shared state. One that is taken by a process that is then
killed stays taken, and every other process waits for it without a bound. LightRAG's other locks are entries in a table
there, which are taken back from processes that are gone. Here those two become such entries as well.
"""

from __future__ import annotations

import os
import time
import uuid

from lightrag.kg import shared_storage

POLL_INTERVAL = 0.02
"""Seconds between two attempts to take a lock that another process has."""


class TableLock:
    """An entry in LightRAG's table of holders, with the surface of ``multiprocessing.Lock``.

    Args:
        name: the entry.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lease: str | None = None

    def acquire(self) -> bool:
        """Wait until the lock is free, or its holder is gone, and take it. LightRAG calls this in a thread."""
        lease = uuid.uuid4().hex
        # Who waits for a live holder must wait; whoever it is ends, and is bounded, by what it does with the lock.
        while not shared_storage._keyed_holder_table.try_acquire(self._name, self._record(lease)):  # noqa: SLF001
            time.sleep(POLL_INTERVAL)
        self._lease = lease
        return True

    def release(self) -> None:
        """Give it back. Does nothing when it was taken away meanwhile."""
        lease, self._lease = self._lease, None
        if lease is not None:
            shared_storage._keyed_holder_table.release(self._name, lease)  # noqa: SLF001

    @staticmethod
    def _record(lease: str) -> dict[str, object]:
        return {"owner_pid": os.getpid(), "lease_id": lease}


def use_table_locks() -> None:
    """Replace the plain locks; in the parent, right after ``initialize_share_data``, before anything is forked."""
    shared_storage._internal_lock = TableLock("lightrag_neo4j:internal")  # noqa: SLF001 - there is no public way
    shared_storage._data_init_lock = TableLock("lightrag_neo4j:data_init")  # noqa: SLF001
