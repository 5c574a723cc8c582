"""``celery inspect lightrag_neo4j``: what each process of a worker does, with its pools.

Celery answers such questions in a worker's main process. The children are not disturbed: each writes what it does once
a second, and the answer is made of that. How long a child has been silent (``silent_for``) tells when it hangs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery.worker.control import inspect_command

from wiring.celery.running import TIMEOUT
from wiring.metrics.main_process import FOLDER

if TYPE_CHECKING:
    from celery import Celery

    from wiring.metrics.report import WorkerReport

COMMAND = "lightrag_neo4j"


@inspect_command(name=COMMAND)
def _report(state: Any, **_: Any) -> Any:
    """Processes with their Neo4j pools."""
    from wiring.metrics.report import report_worker

    folder = os.environ.get(FOLDER)
    if folder is None:
        return {"error": f"{state.hostname} has no folder for figures; see its log, and set METRICS_DATA_DIR"}
    return report_worker(Path(folder))


def ask_workers(app: Celery, names: list[str]) -> list[WorkerReport]:
    """What the workers of these names tell, within a second; those that tell nothing are left out.

    Args:
        app: an application of their broker.
        names: as they answered a ping.
    """
    if not names:
        return []
    answers = app.control.broadcast(COMMAND, destination=names, reply=True, timeout=TIMEOUT, limit=len(names)) or []
    return [report for answer in answers for report in answer.values() if "processes" in report]
