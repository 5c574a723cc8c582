"""A worker of another parent, as far as the lease is concerned: it inserts one document, and asks when it may.

Run it with ``python -m tests.support.late_asker TEXT ID``. It stores the document, waits for the file ``$MAY_ASK``,
asks for the lease as any worker does, and writes the document's status to standard output.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from app_container import create_container
from wiring.lightrag.leases.store import LeaseStore
from wiring.testing.waiting import until


def main(text: str, document_id: str) -> None:
    container = create_container()
    take = LeaseStore.take

    async def take_later(store: LeaseStore, *args: Any, **kwargs: Any) -> Any:
        await asyncio.to_thread(until, Path(os.environ["MAY_ASK"]).exists)
        return await take(store, *args, **kwargs)

    try:
        with patch.object(LeaseStore, "take", take_later):
            found = container.worker_loop().run(container.documents().insert(text, document_id=document_id), 60)
        sys.stdout.write(found["status"])
    finally:
        container.shutdown_resources()


if __name__ == "__main__":
    main(*sys.argv[1:])
