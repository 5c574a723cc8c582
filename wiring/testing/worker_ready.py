"""Is imported by a worker that is tested, and tells when it is ready, whatever happens to its log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery.signals import worker_ready

from wiring.testing.celery_worker import READY_FILE


@worker_ready.connect(weak=False)
def _tell(**_: Any) -> None:
    Path(os.environ[READY_FILE]).touch()
