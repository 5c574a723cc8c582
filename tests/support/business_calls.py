"""What is asked of ``business`` in each place, and what is noted of it. The places import it, and so does the test."""

from __future__ import annotations

import os
from typing import Any

import tests.support.places  # noqa: F401 - it writes the log of drivers

DOCUMENTS = [
    "Our team runs Celery with Redis. In production, Celery workers write to Neo4j, and Redis keeps the results.",
    "Every night Prefect starts a flow. Then Prefect reads Postgres, and its tasks write to Neo4j.",
    "Here Ada maintains Neo4j and Postgres. Once Ada met Bob, for Bob wanted to know how Celery writes to Neo4j.",
    "Our dashboards ask FastAPI. There FastAPI reads Neo4j, and keeps sessions in Redis.",
    "Today Bob maintains FastAPI with Grace. Often Grace asks Ada how Prefect retries a flow.",
    "Our embeddings come from LightRAG. Since May LightRAG keeps entities in Neo4j, and Celery hands LightRAG texts.",
]
FIRST, SECOND = DOCUMENTS[:3], DOCUMENTS[3:]


Note = dict[str, Any]
"""What a call returned, as ``result``, and in which process, as ``pid``; it travels as JSON."""


def noted(result: Any) -> Note:
    return {"pid": os.getpid(), "result": result}
