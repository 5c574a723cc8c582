"""Sessions that nobody closes, on a real server: their connections come back, and what is in use goes on."""

from __future__ import annotations

import asyncio
import gc
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app_container import Container, create_container
from app_container.leaks.found_leaks import tell_found
from app_container.pools.in_use import connections_in_use
from tests.support.figures import figure
from tests.support.leaks import leaks_detected
from tests.support.servers import Server
from wiring.testing.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

SIZE = 2
ROWS = "UNWIND range(1, 3000) AS n RETURN n"  # more than the driver fetches at once


@pytest.fixture
def small(environment: dict[str, str], neo4j_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:  # noqa: ARG001 - it sets the variables
    """A container whose pools hold two connections, and which leaves none on the server."""
    monkeypatch.setenv("NEO4J_MAX_POOL_SIZE", str(SIZE))
    container = create_container()
    yield container
    container.shutdown_resources()
    neo4j_server.until_no_connection_is_left()


@pytest.fixture(autouse=True)
def _nothing_lost_is_left() -> Iterator[None]:
    yield
    gc.collect()
    tell_found()


def test_more_transactions_are_lost_than_the_pool_has_connections_and_the_next_one_works(
    small: Container, neo4j_server: Server
) -> None:
    driver = small.sync_driver()
    for _ in range(2 * SIZE):
        driver.session().begin_transaction().run("RETURN 1").consume()
        gc.collect()
    with driver.session() as session:
        assert session.run("RETURN 1 AS one").single(strict=True)["one"] == 1
    assert len(neo4j_server.our_connections()) <= SIZE
    assert leaks_detected(small.metrics()) == {"session": 2 * SIZE}


def test_the_same_on_an_event_loop(small: Container, neo4j_server: Server) -> None:
    async def main() -> None:
        driver = small.async_driver()

        async def lose() -> None:
            transaction = await driver.session().begin_transaction()
            await (await transaction.run("RETURN 1")).consume()

        for _ in range(2 * SIZE):
            await lose()
            gc.collect()
            await asyncio.sleep(0)  # it is told in a task
        async with driver.session() as session:
            assert await (await session.run("RETURN 1 AS one")).value() == [1]
        assert len(await asyncio.to_thread(neo4j_server.our_connections)) <= SIZE

    asyncio.run(main())
    gc.collect()
    assert leaks_detected(small.metrics()) == {"session": 2 * SIZE}


def test_a_lost_transaction_ends_on_the_server_and_who_waits_already_is_given_its_connection(
    small: Container, neo4j_server: Server, workspace: str, caplog: pytest.LogCaptureFixture
) -> None:
    driver = small.sync_driver()
    kept = [driver.session() for _ in range(SIZE)]
    for session in kept:
        session.begin_transaction().run("CREATE (n) SET n:$($label)", label=workspace).consume()
    del session
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(driver.execute_query, "RETURN 1 AS one")
        until(lambda: figure(small.metrics(), "neo4j_driver_connections_acquiring"))
        kept.clear()
        gc.collect()
        assert leaks_detected(small.metrics()) == {"session": SIZE}
        assert waiting.result(60).records[0]["one"] == 1
    assert connections_in_use(driver) == 0
    ours = neo4j_server.our_connections()
    until(lambda: not neo4j_server.query("SHOW TRANSACTIONS YIELD connectionId WHERE connectionId IN $ours", ours=ours))
    assert neo4j_server.query(f"MATCH (n:`{workspace}`) RETURN n") == []
    name = test_a_lost_transaction_ends_on_the_server_and_who_waits_already_is_given_its_connection.__name__
    told = (
        r"a session was never closed; its connection was given back; "
        rf"it was opened at {re.escape(__file__)}:\d+ in {name}.*, \d+\.\d s ago; use .*"
    )
    assert [bool(re.fullmatch(told, line)) for line in caplog.messages] == [True] * SIZE


def test_a_query_whose_result_nobody_reads_is_not_cut_and_its_session_is_overdue(
    environment: dict[str, str], workspace: str, neo4j_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEO4J_LEAK_DETECTION_THRESHOLD", "0.1")
    container = create_container()
    slow = "UNWIND range(1, 2000) AS a UNWIND range(1, 1000) AS b WITH count(CASE WHEN a * b = -1 THEN 1 END) AS none"
    container.sync_driver().session().run(f"{slow} CREATE (n:`{workspace}`) RETURN n")
    gc.collect()
    until(lambda: leaks_detected(container.metrics()) == {"overdue": 1})
    until(lambda: neo4j_server.query(f"MATCH (n:`{workspace}`) RETURN n"))
    container.shutdown_resources()
    assert environment


def test_what_is_left_of_a_session_in_use_keeps_it(small: Container, caplog: pytest.LogCaptureFixture) -> None:
    driver = small.sync_driver()
    result = driver.session().run(ROWS)
    transaction = driver.session().begin_transaction()

    async def main() -> int:
        result = await small.async_driver().session().run(ROWS)
        gc.collect()
        return len([record async for record in result])

    gc.collect()
    assert len(list(result)) == 3000
    assert transaction.run("RETURN 1 AS one").single(strict=True)["one"] == 1
    transaction.close()
    assert caplog.messages == []
    assert asyncio.run(main()) == 3000


def test_a_session_that_keeps_its_connection_for_too_long_is_told_once(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NEO4J_LEAK_DETECTION_THRESHOLD", "0.1")
    container = create_container()

    def until_told(count: int) -> None:
        until(lambda: leaks_detected(container.metrics()) == {"overdue": count})

    async def stay(_: Any) -> None:
        until_told(3)

    async def main() -> None:
        async with container.async_driver().session() as session, await session.begin_transaction():
            until_told(2)
        async with container.bridged_driver().session() as bridged:
            await bridged.execute_read(stay)

    with container.sync_driver().session() as session, session.begin_transaction():
        until_told(1)
    asyncio.run(main())
    container.sync_driver().execute_query("RETURN 1")
    container.shutdown_resources()
    assert leaks_detected(container.metrics()) == {"overdue": 3}
    name = test_a_session_that_keeps_its_connection_for_too_long_is_told_once.__name__
    told = (
        r"a session has had a connection for \d+\.\d s, more than neo4j\.leak_detection_threshold; "
        rf"it was opened at {re.escape(__file__)}:\d+ in {name}.*, \d+\.\d s ago; end its transaction, .*"
    )
    assert [bool(re.fullmatch(told, line)) for line in caplog.messages] == [True] * 3
    assert environment


def test_a_child_that_drops_its_parents_sessions_leaves_their_transactions(
    small: Container, neo4j_server: Server
) -> None:
    sessions = [small.sync_driver().session() for _ in range(SIZE)]
    transactions = [session.begin_transaction() for session in sessions]
    results = [transaction.run(ROWS) for transaction in transactions]
    child = os.fork()
    if child == 0:
        sessions.clear()
        transactions.clear()
        results.clear()
        gc.collect()
        told = leaks_detected(small.metrics())
        small.sync_driver().verify_connectivity()
        os._exit(1 if told else 0)
    assert os.waitpid(child, 0)[1] == 0
    assert [len(list(result)) for result in results] == [3000] * SIZE
    for session in sessions:
        session.close()
    assert leaks_detected(small.metrics()) == {}
    assert neo4j_server
