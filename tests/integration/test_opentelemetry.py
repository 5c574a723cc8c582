"""What OpenTelemetry is told of pools and queries on a real server, by both kinds of drivers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from neo4j.exceptions import ConnectionAcquisitionTimeoutError, CypherSyntaxError, ServiceUnavailable
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from app_container import Container, create_container
from tests.support.proxy import Proxy
from tests.support.telemetry import Told
from tests.support.waiting import until_here
from wiring.testing.waiting import until

STATE = "db.client.connection.state"


@pytest.fixture
def container(small_pool: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:  # noqa: ARG001 - it sets the variables
    """A container that tells, behind a proxy, with one connection to a pool and little patience."""
    monkeypatch.setenv("OPENTELEMETRY_ENABLED", "true")
    container = create_container()
    yield container
    container.shutdown_resources()


def one(told: Told) -> ReadableSpan:
    (span,) = told.spans()
    return span


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def ended_as(span: ReadableSpan) -> tuple[StatusCode, Any]:
    return span.status.status_code, attributes(span).get("error.type")


def test_an_exhausted_pool(told: Told, container: Container, proxy: Proxy) -> None:
    pool = {"db.client.connection.pool.name": f"process/127.0.0.1:{proxy.port}"}

    def read(metric: str, **also: str) -> Any:
        (point,) = [each for each in told.points(f"db.client.connection.{metric}") if each.attributes == pool | also]
        return getattr(point, "value", None) if hasattr(point, "value") else point.count

    def connections() -> tuple[int, int]:
        return read("count", **{STATE: "used"}), read("count", **{STATE: "idle"})

    driver = container.sync_driver()
    with driver.session() as session, session.begin_transaction():
        assert connections() == (1, 0)
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(driver.execute_query, "RETURN 1")
            until(lambda: read("pending_requests") == 1)
            with pytest.raises(ConnectionAcquisitionTimeoutError):
                waiting.result()
    assert connections() == (0, 1)
    found = {
        name: read(name)
        for name in ("max", "pending_requests", "timeouts", "create_time", "wait_time", "use_time")
    }  # fmt: skip
    assert found == {
        "max": 1, "pending_requests": 0, "timeouts": 1, "create_time": 1, "wait_time": 1, "use_time": 1,
    }  # fmt: skip

    driver.execute_query("RETURN 1", database_="neo4j")
    with pytest.raises(CypherSyntaxError):
        driver.execute_query("NONSENSE")
    server = {"db.system.name": "neo4j", "server.address": "127.0.0.1", "server.port": proxy.port}
    code = "Neo.ClientError.Statement.SyntaxError"
    operations = told.points("db.client.operation.duration")
    assert [(dict(point.attributes), point.count) for point in operations] == [
        ({**server, "db.namespace": "neo4j", "db.operation.name": "RETURN"}, 1),
        ({**server, "db.response.status_code": code, "error.type": code}, 1),
    ]
    assert operations[0].explicit_bounds == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
    spans = [span for span in told.spans() if attributes(span).get("db.operation.name")]
    assert operations[0].sum == pytest.approx(sum(each.end_time - each.start_time for each in spans) / 1e9)  # type: ignore[operator, misc]
    assert told.units() == {
        "db.client.connection.count": "{connection}",
        "db.client.connection.max": "{connection}",
        "db.client.connection.pending_requests": "{request}",
        "db.client.connection.timeouts": "{timeout}",
        "db.client.connection.create_time": "s",
        "db.client.connection.wait_time": "s",
        "db.client.connection.use_time": "s",
        "db.client.operation.duration": "s",
    }


def test_queries_of_a_sync_driver(told: Told, container: Container, proxy: Proxy) -> None:
    driver = container.sync_driver()
    with driver.session(database="neo4j", fetch_size=2) as session:
        result = session.run("UNWIND range(1, $n) AS x RETURN x, $word", n=5, word="parameter")
        assert len(list(itertools.islice(result, 4))) == 4
        assert told.spans() == []  # until the last record has arrived
        list(result)
        span = one(told)
        assert (span.name, span.kind, ended_as(span)) == ("UNWIND neo4j", SpanKind.CLIENT, (StatusCode.UNSET, None))
        assert attributes(span) == {
            "db.system.name": "neo4j",
            "db.namespace": "neo4j",
            "db.operation.name": "UNWIND",
            "db.query.text": "UNWIND range(1, $n) AS x RETURN x, $word",
            "server.address": "127.0.0.1",
            "server.port": proxy.port,
        }
        session.run("RETURN 'literal' AS `quoted 'name'`, 42").consume()
        assert attributes(one(told))["db.query.text"] == "RETURN ? AS `quoted 'name'`, ?"

    with driver.session(fetch_size=2) as session, session.begin_transaction() as transaction:
        first = transaction.run("UNWIND range(1, 5) AS x RETURN x")
        second = transaction.run("WITH 1 AS y RETURN y")
        second.consume()
        assert (span := one(told)).name == "WITH"
        assert attributes(span)["db.namespace"] == "neo4j"  # the server said so in the end
        first.consume()
        assert one(told).name == "UNWIND"

    code = "Neo.ClientError.Statement.ArithmeticError"
    with driver.session() as session, pytest.raises(Exception, match="by zero"):
        session.run("RETURN 1 / $secret", secret=0).consume()
    assert ended_as(span := one(told)) == (StatusCode.ERROR, code)
    assert attributes(span)["db.response.status_code"] == code
    assert span.status.description is None
    with pytest.raises(Exception, match="not found"):  # refused before the query, which was sent along
        driver.execute_query("RETURN 1", database_="none-such")
    assert ended_as(one(told)) == (StatusCode.ERROR, "Neo.ClientError.Database.DatabaseNotFound")

    with driver.session(fetch_size=1) as session, pytest.raises(ServiceUnavailable):  # noqa: PT012
        result = session.run("UNWIND range(1, 5) AS x RETURN x")
        proxy.cut()
        list(result)
    assert ended_as(span := one(told)) == (StatusCode.ERROR, "neo4j.exceptions.ServiceUnavailable")
    assert "db.response.status_code" not in attributes(span)


def test_queries_of_an_async_driver_and_what_is_above_them(told: Told, container: Container, proxy: Proxy) -> None:
    tracer = trace.get_tracer("test")

    async def ask(query: str) -> None:
        async with container.async_driver().session() as session:
            await (await session.run(query)).consume()

    async def main() -> None:
        await ask("RETURN 1")
        assert one(told).parent is None
        with pytest.raises(CypherSyntaxError):
            await ask("NONSENSE")
        assert ended_as(span := one(told)) == (StatusCode.ERROR, "Neo.ClientError.Statement.SyntaxError")
        assert span.name == "neo4j"
        proxy.stop()
        before = told.started
        asked = asyncio.create_task(ask("RETURN 1"))
        await until_here(lambda: told.started > before)
        asked.cancel()
        proxy.go_on()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert ended_as(one(told)) == (StatusCode.ERROR, "asyncio.exceptions.CancelledError")
        with tracer.start_as_current_span("above the bridge"):
            async with container.bridged_driver().session() as session:
                await session.run("RETURN 1")

    asyncio.run(main())
    with tracer.start_as_current_span("above the worker loop"):
        container.worker_loop().run(ask("RETURN 1"))
    spans = told.spans()
    for query, above in zip(spans[::2], spans[1::2], strict=True):
        assert query.parent == above.context
        assert (query.name, above.name.partition(" ")[0]) == ("RETURN", "above")


class Failing(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ARG002
        raise RuntimeError("the application's own mistake")


@pytest.mark.parametrize("wrong", ["unknown connection", "unknown pool", "failing processor"])
def test_queries_go_on_whatever_is_wrong(
    told: Told, container: Container, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    if wrong == "unknown connection":
        monkeypatch.setattr("wiring.opentelemetry.queries.NEEDED", ("run", "no_more"))
    elif wrong == "unknown pool":
        monkeypatch.setattr("wiring.opentelemetry.told.watch_pool", watch_nothing)
    else:
        told.process_spans_by(Failing())
    for _ in range(2):
        with container.sync_driver() as driver:
            assert driver.execute_query("RETURN 1 AS one").records[0]["one"] == 1
        container.shutdown_resources()
    assert told.spans() == []
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("OpenTelemetry is not told of ")


def watch_nothing(*_: Any) -> None:
    raise AttributeError("the pool has changed")
