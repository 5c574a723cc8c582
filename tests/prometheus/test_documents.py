"""What becomes of documents in the ready worker, in Prometheus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celery import Celery

from tests.prometheus.conftest import StartMeasured
from tests.support.models import config_with_model
from tests.support.prometheus_server import Prometheus

TIMEOUT = 60.0
TEXT = "Our team runs Celery with Redis."


def test_documents_are_counted_by_what_became_of_them(
    start_measured: StartMeasured, app: Celery, prometheus: Prometheus, other: str, tmp_path: Path
) -> None:
    options = {
        "APP_CONTAINER_CONFIG": config_with_model("as_told"),
        "FORGIVE": str(tmp_path / "forgive"),
        "LIGHTRAG_DOCUMENT_TIMEOUT": "15",
        "CELERY_RETRY_BACKOFF_MAX": "1",
    }
    start_measured("documents", "--concurrency", "2", **options)

    def send(text: str, document_id: str, workspace: str | None = None, **task_options: Any) -> Any:
        document = {"document_id": document_id, "workspace": workspace}
        return app.send_task("lightrag.insert_document", (text,), document, **task_options)

    def insert(text: str, document_id: str) -> str:
        """The status, or the kind of error."""
        result = send(text, document_id).get(timeout=TIMEOUT, propagate=False)
        return type(result).__name__ if isinstance(result, Exception) else str(result["status"])

    assert insert(TEXT, "a") == "processed"
    assert insert(TEXT, "a") == "unchanged"
    assert insert(TEXT, "b") == "duplicate"
    assert insert("Another text.", "a") == "DocumentConflictError"
    assert insert("", "empty") == "InvalidDocumentError"
    assert insert("PLEASE-FAIL now.", "bad") == "DocumentFailedError"
    assert insert("PLEASE-WAIT for Neo4j.", "late") == "processed"
    # Last, for a model that hangs keeps others of its process from it.
    hanging = [send("PLEASE-HANG for long.", "long", other), send("PLEASE-HANG.", "short", other, soft_time_limit=4)]
    ends = {type(each.get(timeout=TIMEOUT, propagate=False)).__name__ for each in hanging}
    assert ends == {"DocumentTimeoutError", "SoftTimeLimitExceeded"}

    outcomes = {
        "processed": 2.0, "unchanged": 1.0, "duplicate": 1.0, "refused": 2.0, "failed": 1.0, "postponed": 1.0,
        "timed_out": 1.0, "cancelled": 1.0,
    }  # fmt: skip
    counted = 'sum by (outcome) (lightrag_document_seconds_count{instance="documents"})'
    prometheus.until_it_is_by("outcome", counted, outcomes)
    buckets = 'lightrag_document_seconds_bucket{instance="documents", outcome="timed_out"}'
    prometheus.until(f"histogram_quantile(0.5, sum by (le) ({buckets}))", lambda found: found[0][1] > 10.0)
