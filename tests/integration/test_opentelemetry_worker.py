"""The programs of docs/opentelemetry.md: one trace from who sends a task to the queries of its document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests import PROJECT
from tests.support.models import config_with_model
from tests.support.pages import write_programs
from tests.support.python_processes import StartPython
from tests.support.telemetry import written
from tests.support.workers import StartWorker

PAGE = (PROJECT / "docs" / "opentelemetry.md").read_text()

# A task that is tried again, and one whose process is killed; each asks one query when it succeeds.
TASKS = """
import os, signal
from neo4j.exceptions import ServiceUnavailable
from traced_worker import app
from wiring.celery import ReliableTask, async_task, container_of

@async_task(app, name="retried", base=ReliableTask, bind=True, shared=False)
async def retried(self):
    if self.request.retries == 0:
        raise ServiceUnavailable("secret words")
    await container_of(app).async_driver().execute_query("RETURN $told", told="retried")

@app.task(name="killed", base=ReliableTask, bind=True, shared=False)
def killed(self):
    if self.lost == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    container_of(app).sync_driver().execute_query("RETURN $told", told="killed")
"""

# Sends them, and a document that fails; then it does what the page's program does, which sends one that succeeds.
SEND = """
import json
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from traced_worker import app

trace.set_tracer_provider(TracerProvider())
with trace.get_tracer("test").start_as_current_span("all") as span:
    results = [app.send_task("killed"), app.send_task("retried")]
    results[0].get(timeout=60)  # with the process go the spans that it had not written
    results.append(app.send_task("lightrag.insert_document", ["PLEASE-FAIL now."], {"document_id": "bad"}))
    import send
    for result in results:
        result.get(timeout=60, propagate=False)
places = [each.get_span_context() for each in (span, send.span)]
print(json.dumps({"trace": f"{places[0].trace_id:#034x}", "senders": [f"{each.span_id:#018x}" for each in places]}))
"""

INSERT = "run/lightrag.insert_document"


def test_one_trace_from_the_sender_to_the_queries(
    start_worker: StartWorker, start_python: StartPython, tmp_path: Path
) -> None:
    write_programs(PAGE, tmp_path)
    (tmp_path / "more_tasks.py").write_text(TASKS)
    settings = {"OPENTELEMETRY_ENABLED": "true", "APP_CONTAINER_CONFIG": config_with_model("failing_on_request")}
    worker = start_worker("--concurrency", "2", app="more_tasks", FORGIVE=str(tmp_path / "never"), **settings)
    worker.until_ready()
    sender = start_python("-c", SEND, **settings).finish()
    assert worker.stop() == 0
    spans = [span for span in written(tmp_path, "spans-*.txt") if span["context"]["trace_id"] == sender["trace"]]
    by_id = {span["context"]["span_id"]: span for span in spans}

    def above(span: dict[str, Any]) -> list[str]:
        """The names of the spans above it, up to the sender's."""
        parent = by_id.get(span["parent_id"])
        return [] if parent is None else [parent["name"], *above(parent)]

    def named(name: str) -> list[dict[str, Any]]:
        return sorted((span for span in spans if span["name"] == name), key=lambda span: str(span["start_time"]))

    # Every run is the sender's child, whatever became of those before.
    runs = [span for span in spans if span["kind"] == "SpanKind.CONSUMER"]
    assert {span["parent_id"] for span in runs} == set(sender["senders"])
    states = {
        name: [span["attributes"]["celery.state"] for span in named(name)] for name in ("run/retried", "run/killed")
    }
    # The first run was killed, the second sent it again.
    assert states == {"run/retried": ["RETRY", "SUCCESS"], "run/killed": ["RETRY", "SUCCESS"]}
    (reason,) = {span["attributes"].get("celery.retry.reason") for span in named("run/retried")} - {None}
    assert reason == "neo4j.exceptions.ServiceUnavailable"
    for run in states:
        (query,) = [span for span in spans if above(span) == [run]]
        assert query["attributes"]["db.query.text"] == "RETURN $told"

    # A document is processed below the task that brought it, in whichever process, with what it writes.
    for key, outcome in {"ada": "UNSET", "bad": "ERROR"}.items():
        (processed,) = [
            span for span in named("lightrag.process_document") if span["attributes"]["lightrag.document.id"] == key
        ]
        assert above(processed) == ["lightrag.insert_document", INSERT]
        insert = by_id[processed["parent_id"]]
        assert insert["attributes"]["lightrag.document.id"] == key
        for span in (processed, insert, by_id[insert["parent_id"]]):
            assert span["status"]["status_code"] == outcome
        queries = [span for span in spans if span["parent_id"] == processed["context"]["span_id"]]
        assert any("MERGE (n:" in span["attributes"]["db.query.text"] for span in queries) == (key == "ada")
    (failed,) = [span for span in named("lightrag.insert_document") if span["status"]["status_code"] == "ERROR"]
    assert failed["attributes"]["error.type"] == "wiring.lightrag.errors.DocumentFailedError"
    assert "document 'bad' failed in LightRAG" in failed["status"]["description"]
    assert not any(word in str(spans) for word in ("secret words", "met Bob", "'killed'}"))

    for process in {span["resource"]["attributes"]["service.instance.id"] for span in spans}:
        told = written(tmp_path, f"metrics-{process.partition('-')[2]}.txt")[-1]["resource_metrics"][0]
        assert told["resource"]["attributes"]["service.instance.id"] == process
        names = {each["name"] for scope in told["scope_metrics"] for each in scope["metrics"]}
        assert {"db.client.connection.count", "db.client.operation.duration"} <= names
