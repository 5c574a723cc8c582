"""What ``lightrag-neo4j check --probe`` answers to those who ask again and again, such as Kubernetes.

It must be quick, so nothing of LightRAG or Celery is imported for it.
"""

from __future__ import annotations

import json
import sys
from typing import Literal

from app_container import Container

Probe = Literal["liveness", "readiness"]


def answer_probe(container: Container, probe: Probe) -> bool:
    """Print one line of JSON; returns whether the answer is yes. Bounded by ``neo4j.check_timeout``.

    Args:
        container: names the server.
        probe: the question; ``readiness`` is whether the server answers, ``liveness`` whether the workers of this
            machine go on.
    """
    match probe:
        case "liveness":
            from wiring.metrics.liveness import liveness

            workers = liveness(container.settings().metrics.data_dir)
            sys.stdout.write(json.dumps(workers.as_dict()) + "\n")
            return workers.live
        case "readiness":
            readiness = container.health().ready_sync()
            sys.stdout.write(json.dumps(readiness.as_dict()) + "\n")
            return readiness.ready
