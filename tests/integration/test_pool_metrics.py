"""Every figure of a pool, after exactly what it counts happened on a real server; in both kinds of drivers."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from neo4j.exceptions import ConnectionAcquisitionTimeoutError, ServiceUnavailable
from prometheus_client import CollectorRegistry, Counter, generate_latest

from app_container import Container, create_container
from tests.support.figures import figure
from tests.support.proxy import Proxy
from tests.support.waiting import until_here
from wiring.testing.waiting import until

PREFIX = "neo4j_driver_connections_"


@pytest.fixture
def small(small_pool: dict[str, str]) -> Iterator[Container]:  # noqa: ARG001 - it sets the variables
    container = create_container()
    yield container
    container.shutdown_resources()


def read(container: Container, **labels: str) -> dict[str, float]:
    """All figures of the pools that have these labels, without those that are 0."""
    names = (
        "in_use", "idle", "creating", "acquiring", "created_total", "closed_total", "failed_total", "acquired_total",
        "waited_total", "acquisition_timeout_total", "acquisition_seconds_count", "creation_seconds_count",
        "usage_seconds_count",
    )  # fmt: skip
    found = {name: figure(container.metrics(), PREFIX + name, **labels) for name in names}
    return {name: value for name, value in found.items() if value}


def test_a_sync_pool_tells_what_happens_in_it(small: Container, proxy: Proxy) -> None:
    address = f"127.0.0.1:{proxy.port}"
    driver = small.sync_driver()
    assert read(small) == {}
    with driver.session() as session:
        session.run("RETURN 1").consume()
        # The driver gives the connection back with the end of the result, and takes it again.
        assert read(small, pool="process", address=address) == {
            "idle": 1, "created_total": 1, "acquired_total": 1, "acquisition_seconds_count": 1,
            "creation_seconds_count": 1, "usage_seconds_count": 1,
        }  # fmt: skip
        session.begin_transaction()
        assert read(small)["in_use"] == 1
        with ThreadPoolExecutor() as threads:
            waiting = [threads.submit(driver.execute_query, "RETURN 1") for _ in range(2)]
            until(lambda: read(small).get("acquiring") == 2)
            for each in waiting:
                with pytest.raises(ConnectionAcquisitionTimeoutError):
                    each.result()
    assert read(small, pool="process") == {
        "idle": 1, "created_total": 1, "acquired_total": 2, "acquisition_seconds_count": 2,
        "creation_seconds_count": 1, "usage_seconds_count": 2, "waited_total": 2, "acquisition_timeout_total": 2,
    }  # fmt: skip
    proxy.cut()
    with driver.session() as session, pytest.raises(ServiceUnavailable):
        session.run("RETURN 1")
    after = read(small)
    assert (after["closed_total"], after["failed_total"]) == (1, 1)
    assert not {"idle", "in_use"} & after.keys()


def test_an_async_pool_tells_the_same(small: Container, proxy: Proxy) -> None:
    async def main() -> None:
        driver = small.async_driver()
        proxy.stop()
        first = asyncio.create_task(driver.execute_query("RETURN 1"))
        await until_here(lambda: read(small).get("creating") == 1)
        assert read(small, pool="loop") == {"creating": 1, "acquiring": 1}
        proxy.go_on()
        await first
        async with driver.session() as session, await session.begin_transaction():
            waiting = [asyncio.create_task(driver.execute_query("RETURN 1")) for _ in range(2)]
            await until_here(lambda: read(small).get("acquiring") == 2)
            assert read(small)["in_use"] == 1
            waiting[0].cancel()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(each) for each in outcomes] == [asyncio.CancelledError, ConnectionAcquisitionTimeoutError]
        proxy.cut()
        await until_here(lambda: not read(small).get("idle"))
        async with driver.session() as session:
            with pytest.raises(ServiceUnavailable):
                await session.run("RETURN 1")

    asyncio.run(main())
    assert read(small, pool="loop", address=f"127.0.0.1:{proxy.port}") == {
        "created_total": 1, "closed_total": 1, "failed_total": 1, "acquired_total": 2, "acquisition_seconds_count": 2,
        "creation_seconds_count": 1, "usage_seconds_count": 2, "waited_total": 2, "acquisition_timeout_total": 1,
    }  # fmt: skip


@pytest.mark.usefixtures("environment")
def test_figures_that_are_read_meanwhile_disturb_no_query(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_URI", proxy.uri)
    monkeypatch.setenv("NEO4J_MAX_TRANSACTION_RETRY_TIME", "0")
    container = create_container()
    driver, deadline = container.sync_driver(), time.monotonic() + 30

    def query() -> None:
        for n in range(20):
            assert driver.execute_query("RETURN $n AS n", n=n).records[0]["n"] == n

    with ThreadPoolExecutor(8) as threads:
        running = [threads.submit(query) for _ in range(8)]
        while time.monotonic() < deadline and not all(each.done() for each in running):
            read(container)
        proxy.cut()  # or those that wait for an answer would wait for ever
        for each in running:
            each.result()
    container.shutdown_resources()


def test_drivers_are_counted_by_how_long_they_live(container: Container) -> None:
    async def on_a_loop() -> None:
        container.async_driver()

    container.sync_driver()
    asyncio.run(on_a_loop())
    asyncio.run(on_a_loop())
    container.worker_loop().run(on_a_loop())
    container.shutdown_resources()
    for what in ("opened", "closed"):
        found = {
            life: figure(container.metrics(), f"neo4j_driver_{what}_total", lifetime=life)
            for life in ("process", "loop", "worker_loop")
        }
        assert found == {"process": 1, "loop": 2, "worker_loop": 1}, what


def test_an_application_shows_them_with_figures_of_its_own(container: Container) -> None:
    registry = CollectorRegistry()
    Counter("mine", "Of the application.", registry=registry).inc()
    registry.register(container.metrics())
    container.sync_driver().execute_query("RETURN 1")
    lines = generate_latest(registry).decode().splitlines()
    assert "mine_total 1.0" in lines
    assert 'neo4j_driver_opened_total{lifetime="process"} 1.0' in lines
    assert sum(line.startswith(f"{PREFIX}usage_seconds_bucket{{") for line in lines) == 10


def test_the_worker_loop_tells_what_it_has_to_do(container: Container) -> None:
    loop, goes_on = container.worker_loop(), threading.Event()

    async def block() -> None:
        goes_on.wait(30)

    def read_loop() -> tuple[float, ...]:
        names = ("queued_tasks", "active_tasks", "lag_seconds")
        return tuple(figure(container.metrics(), f"worker_loop_{name}") for name in names)

    loop.run(asyncio.sleep(0))
    until(lambda: read_loop()[:2] == (0, 0))
    with ThreadPoolExecutor() as threads:
        try:
            calls = [threads.submit(loop.run, block())]
            until(lambda: read_loop()[:2] == (0, 1))
            calls += [threads.submit(loop.run, asyncio.sleep(0)) for _ in range(3)]
            until(lambda: read_loop()[:2] == (3, 1))
            until(lambda: read_loop()[2] > 0.1)
        finally:
            goes_on.set()
        for call in calls:
            call.result(30)
    until(lambda: read_loop()[2] < 0.1)
    container.shutdown_resources()
    assert not any(metric.name.startswith("worker_loop") for metric in container.metrics().collect())


def test_a_driver_that_keeps_its_pool_otherwise_works_and_its_figures_are_unknown(
    container: Container, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app_container.pools.pool_watch.NEEDED", ("opener", "no_more"))
    with container.sync_driver() as driver:
        assert driver.execute_query("RETURN 1 AS one").records[0]["one"] == 1

    async def main() -> None:
        await container.async_driver().execute_query("RETURN 1")

    asyncio.run(main())
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "unknown in this version of it: " in line
    assert "has no no_more" in line
    assert math.isnan(figure(container.metrics(), PREFIX + "in_use", pool="process", address="unknown"))
    assert figure(container.metrics(), "neo4j_driver_opened_total") == 2


def test_a_pool_that_cannot_be_looked_into_is_unknown_and_the_others_are_not(
    container: Container, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    driver = container.sync_driver()
    driver.execute_query("RETURN 1")
    monkeypatch.setattr(driver._pool, "connections_reservations", None)
    for _ in range(2):
        assert math.isnan(figure(container.metrics(), PREFIX + "idle", pool="process", address="unknown"))
    assert figure(container.metrics(), PREFIX + "acquired_total") == 1
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "unknown in this version of it: " in line


def test_a_watcher_that_fails_breaks_no_query(
    container: Container, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app_container.pools.watched_pool.WatchedPool.acquired", lambda *_: 1 / 0)
    driver = container.sync_driver()
    for _ in range(2):
        assert driver.execute_query("RETURN 1 AS one").records[0]["one"] == 1
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line == "a pool of the Neo4j driver is not watched any more; queries go on"
