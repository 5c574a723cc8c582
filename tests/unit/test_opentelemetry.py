"""What is told to OpenTelemetry, as far as it takes no server; and that nothing is, where it is not asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from celery import Celery, signals
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from app_container import AppContainerError
from tests.support.telemetry import Told
from wiring.opentelemetry import tasks
from wiring.opentelemetry.cypher import operation_of, shown

SHOWN = {
    "MATCH (n {name: 'Ada \\' Lovelace'}) RETURN n": "MATCH (n {name: ?}) RETURN n",
    'RETURN "a" + \'b"c\', 1, 2.5, -3e10, 0xFF, true, n1, x.y2': "RETURN ? + ?, ?, ?, -?, ?, ?, n1, x.y2",
    "MATCH (a)-[*1..3]->(:`it's 1`) // not '1\nRETURN $p1": "MATCH (a)-[*?..?]->(:`it's 1`) // not '1\nRETURN $p1",
    "RETURN 'never closed": "RETURN ?",
    "/* it's 1 */ RETURN [1, 2]": "/* it's 1 */ RETURN [?, ?]",
}


def test_the_text_of_a_query_is_told_without_its_values() -> None:
    assert {text: shown(text, {}) for text in SHOWN} == SHOWN
    assert {text: shown(text, {"p1": 1}) for text in SHOWN} == {text: text for text in SHOWN}


@pytest.mark.parametrize(
    ("query", "operation"),
    [
        ("MATCH (n) RETURN n", "MATCH"),
        ("\n  // a comment\n /* and\n more */ merge (n)", "merge"),
        ("OPTIONAL MATCH (n) RETURN n", "MATCH"),
        ("EXPLAIN UNWIND [1] AS x RETURN x", "UNWIND"),
        ("Ada met Bob", None),
        ("", None),
    ],
)
def test_the_operation_of_a_query_is_its_first_clause(query: str, operation: str | None) -> None:
    assert operation_of(query) == operation


@pytest.fixture
def app(told: Told) -> Iterator[Celery]:  # noqa: ARG001 - its providers come first
    app = Celery("told", set_as_current=False)
    app.conf.task_always_eager = True
    tasks.trace_tasks()
    yield app
    for signal in (signals.before_task_publish, signals.task_prerun, signals.task_postrun):
        assert signal.disconnect(dispatch_uid=tasks._UID)


def test_a_task_is_told_with_what_became_of_it(told: Told, app: Celery) -> None:
    @app.task(name="divide", shared=False)
    def divide(by: int) -> float:
        if by < 0:
            raise AppContainerError("less than nothing")
        return 1 / by

    with trace.get_tracer("test").start_as_current_span("sender") as sender:
        for by in (1, 0, -1):
            divide.delay(by).get(propagate=False)
    *runs, _ = told.spans()
    assert {(run.name, run.kind) for run in runs} == {("run/divide", SpanKind.CONSUMER)}
    assert all(run.parent == sender.get_span_context() for run in runs)
    assert [(run.attributes or {}).get("celery.state") for run in runs] == ["SUCCESS", "FAILURE", "FAILURE"]
    assert [(run.attributes or {}).get("error.type") for run in runs] == [
        None, "ZeroDivisionError", "app_container.errors.AppContainerError",
    ]  # fmt: skip
    assert [(run.status.status_code, run.status.description) for run in runs] == [
        (StatusCode.UNSET, None), (StatusCode.ERROR, None), (StatusCode.ERROR, "less than nothing"),
    ]  # fmt: skip


def test_spans_of_tasks_are_left_to_celerys_instrumentation(
    told: Told, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = ModuleType("opentelemetry.instrumentation.celery")
    instrumentor = SimpleNamespace(is_instrumented_by_opentelemetry=True)
    others.CeleryInstrumentor = lambda: instrumentor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, others.__name__, others)

    @app.task(name="nothing", shared=False)
    def nothing() -> None: ...

    nothing.delay()
    assert told.spans() == []
    instrumentor.is_instrumented_by_opentelemetry = False
    nothing.delay()
    assert [span.name for span in told.spans()] == ["run/nothing"]


def test_who_sends_a_task_is_in_its_headers_unless_somebody_is(told: Told, app: Celery) -> None:  # noqa: ARG001
    def send(headers: dict[str, Any]) -> dict[str, Any]:
        signals.before_task_publish.send("a task", headers=headers)
        return headers

    assert send({"id": "1"}) == {"id": "1"}
    with trace.get_tracer("test").start_as_current_span("sender") as sender:
        place = sender.get_span_context()
        assert send({"id": "1"})["traceparent"].startswith(f"00-{place.trace_id:032x}-{place.span_id:016x}-")
        assert send({"traceparent": "another"}) == {"traceparent": "another"}


def run(script: str) -> subprocess.CompletedProcess[str]:
    environment = "import os, sys; os.environ['NEO4J_PASSWORD'] = 'x'\n"
    return subprocess.run(
        [sys.executable, "-c", environment + script], capture_output=True, text=True, timeout=60, check=False
    )


def test_where_it_is_off_nothing_of_it_is_imported() -> None:
    done = run("""
from wiring.celery_app import container
container.sync_driver()
container.documents()
container.shutdown_resources()
print(sorted(name for name in sys.modules if name.startswith("wiring.opentelemetry.")))
""")
    assert done.stdout.splitlines()[-1:] == ["['wiring.opentelemetry.telemetry']"], done.stderr


def test_without_the_package_the_error_names_the_extra() -> None:
    done = run("""
os.environ["OPENTELEMETRY_ENABLED"] = "true"
sys.modules["opentelemetry"] = None
import wiring.celery_app
""")
    assert done.stderr == (
        "opentelemetry.enabled needs the package 'opentelemetry-api', which is not installed; "
        "run: pip install 'lightrag-neo4j-wiring[opentelemetry]'\n"
    )
