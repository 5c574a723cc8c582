"""The sync driver behind the async surface, on a real server."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from neo4j.exceptions import ConnectionAcquisitionTimeoutError, DriverError

from app_container import Container, create_container
from app_container.bridge import BridgedDriver
from app_container.bridge_threads import BridgeThreads
from tests.support.proxy import Proxy
from tests.support.servers import Server

SLOW = "UNWIND range(1, $n) AS a UNWIND range(1, 1000) AS b WITH a, b WHERE a * b = -1 RETURN count(*) AS none"


def bridge_threads() -> set[int]:
    return {thread.ident or 0 for thread in threading.enumerate() if thread.name.startswith("bridge-")}


@pytest.fixture(autouse=True)
def _all_ended(neo4j_server: Server) -> Any:
    yield
    neo4j_server.until_no_connection_is_left()
    deadline = time.monotonic() + 10
    while bridge_threads():
        assert time.monotonic() < deadline, "threads of the bridge are left"
        time.sleep(0.01)


def test_threads_and_connections_are_bounded_by_the_pool_and_kept_for_the_next_loop(
    environment: dict[str, str], connections_opened: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEO4J_MAX_POOL_SIZE", "3")
    container = create_container()
    seen: set[int] = set()

    async def read(n: int) -> int:
        async with container.bridged_driver().session() as session:
            (record,) = await (await session.run("RETURN $n AS n", n=n)).data()
        seen.update(bridge_threads())
        return int(record["n"])

    async def many() -> list[int]:
        return await asyncio.gather(*(read(n) for n in range(50)))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: asyncio.run(many()), range(8))) == [list(range(50))] * 8
    assert 1 <= len(seen) <= 3
    assert 1 <= connections_opened() <= 3
    container.shutdown_resources()
    assert environment


def test_a_transaction_is_one_hop_to_one_thread(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    hops: list[str] = []
    submit = BridgeThreads._submit

    def counting(self: BridgeThreads, call: Any, future: Any) -> None:
        hops.append(getattr(call, "__name__", type(call).__name__))
        submit(self, call, future)

    monkeypatch.setattr(BridgeThreads, "_submit", counting)
    where: list[int] = []

    async def work(transaction: Any, names: list[str]) -> list[str]:
        found = []
        for name in names:
            where.append(threading.get_ident())
            found.extend([record["name"] async for record in await transaction.run("RETURN $name AS name", name=name)])
        return found

    async def main() -> list[str]:
        async with container.bridged_driver().session() as session:
            written: list[str] = await session.execute_write(work, ["a", "b"])
            return written + await session.execute_read(work, names=["c"])

    assert asyncio.run(main()) == ["a", "b", "c"]
    assert hops == ["partial", "partial", "close"]
    assert where[0] == where[1] != threading.get_ident()
    container.shutdown_resources()


def test_a_transaction_function_that_waits_for_something_else_is_told(container: Container) -> None:
    async def work(transaction: Any) -> None:
        await transaction.run("RETURN 1")
        await asyncio.sleep(0.01)

    async def main() -> None:
        async with container.bridged_driver().session() as session:
            await session.execute_write(work)

    with pytest.raises(RuntimeError, match="awaited something other than its transaction; use async_driver here"):
        asyncio.run(main())
    container.shutdown_resources()


def test_the_callers_context_is_seen(container: Container) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def work(_: Any) -> str:
        return variable.get()

    async def main() -> str:
        variable.set("the caller's")
        async with container.bridged_driver().session() as session:
            seen: str = await session.execute_read(work)
            return seen

    assert asyncio.run(main()) == "the caller's"
    container.shutdown_resources()


FAULTY = {
    "syntax": ("RETRUN 1", {}),
    "parameter": ("RETURN $missing", {}),
    "type of a parameter": ("RETURN $x", {"x": object()}),
    "arithmetic": ("UNWIND [1, 0] AS n RETURN 1 / n", {}),
    "database": ("RETURN 1", {}),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_errors_are_the_drivers_own(container: Container, fault: str) -> None:
    query, parameters = FAULTY[fault]
    config = {"database": "nowhere"} if fault == "database" else {}

    async def run(driver: Any) -> tuple[type[BaseException], str]:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one, is what is compared
            async with driver.session(**config) as session:
                await (await session.run(query, parameters)).consume()
        return caught.type, str(caught.value)

    async def in_a_transaction(driver: Any) -> tuple[type[BaseException], str]:
        async def work(transaction: Any) -> None:
            await (await transaction.run(query, parameters)).consume()

        with pytest.raises(Exception) as caught:  # noqa: PT011 - the same
            async with driver.session(**config) as session:
                await session.execute_write(work)
        return caught.type, str(caught.value)

    async def both(driver: Any) -> list[tuple[type[BaseException], str]]:
        return [await run(driver), await in_a_transaction(driver)]

    ours = asyncio.run(both(container.bridged_driver()))
    theirs = container.worker_loop().run(_with_async_driver(container, both))
    assert ours == theirs
    assert in_use(container) == 0
    container.shutdown_resources()


async def _with_async_driver(container: Container, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    return await work(container.async_driver())


def in_use(container: Container) -> int:
    pool = container.sync_driver()._pool
    return sum(pool.in_use_connection_count(address) for address in list(pool.connections))


@pytest.mark.parametrize("what", ["a query", "a transaction"])
def test_a_cancelled_caller_waits_for_its_call_and_leaves_no_connection_in_use(container: Container, what: str) -> None:
    async def work(transaction: Any) -> None:
        await (await transaction.run(SLOW, n=3000)).consume()

    async def slow() -> None:
        async with container.bridged_driver().session() as session:
            if what == "a query":
                await (await session.run(SLOW, n=3000)).consume()
            else:
                await session.execute_write(work)

    async def main() -> None:
        tasks = [asyncio.create_task(slow()) for _ in range(4)]
        while in_use(container) < 4:  # noqa: ASYNC110 - it changes in other threads
            await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * 4
        assert in_use(container) == 0

    asyncio.run(asyncio.wait_for(main(), 60))
    container.shutdown_resources()


def test_a_call_that_hangs_is_abandoned_and_gives_its_connection_back_when_it_ends(
    environment: dict[str, str], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app_container.bridge_threads.CANCEL_TIMEOUT", 0.3)
    monkeypatch.setenv("NEO4J_URI", proxy.uri)
    container = create_container()

    async def main() -> None:
        async with container.bridged_driver().session() as session:
            await session.run("RETURN 1")
            proxy.stop()
            async with asyncio.timeout(0.2):
                await session.run("RETURN 2")

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert in_use(container) == 1
    proxy.go_on()
    deadline = time.monotonic() + 30
    while in_use(container):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    container.shutdown_resources()
    assert environment["NEO4J_URI"] != proxy.uri


def test_who_finds_every_thread_waiting_for_the_server_is_told_in_time() -> None:
    release = threading.Event()
    threads = BridgeThreads(limit=2, acquisition_timeout=0.2)

    async def main() -> list[BaseException | bool]:
        return await asyncio.gather(
            *(threads.run(lambda: release.wait(10), abandon=lambda _: None) for _ in range(2)),
            _released_late(release, threads),
            return_exceptions=True,
        )

    one, two, three = asyncio.run(main())
    assert (one, two) == (True, True)
    assert isinstance(three, ConnectionAcquisitionTimeoutError)
    assert str(three).startswith("failed to obtain a thread for the bridged driver within 0.2s (timeout)")

    async def again() -> int:
        return await threads.run(lambda: 42, abandon=lambda _: None)

    assert asyncio.run(again()) == 42
    threads.close()
    with pytest.raises(DriverError, match="Driver closed"):
        asyncio.run(again())


def test_a_thread_that_cannot_be_started_fails_the_call_and_no_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = BridgeThreads(limit=1, acquisition_timeout=10)
    ran: list[str] = []

    async def call(name: str) -> None:
        await threads.run(lambda: ran.append(name), abandon=lambda _: None)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            asyncio.run(call("refused"))
    asyncio.run(call("later"))
    assert ran == ["later"]
    threads.close()


def test_a_caller_that_is_cancelled_when_its_time_is_over_is_cancelled() -> None:
    threads = BridgeThreads(limit=1, acquisition_timeout=0.1)
    release = threading.Event()

    async def main() -> None:
        first = asyncio.create_task(threads.run(lambda: release.wait(10), abandon=lambda _: None))
        second = asyncio.create_task(threads.run(lambda: 42, abandon=lambda _: None))
        await asyncio.sleep(0)
        time.sleep(0.2)  # noqa: ASYNC251 - now its time is over, and nobody could tell it yet
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        release.set()
        await first

    asyncio.run(main())
    threads.close()


async def _released_late(release: threading.Event, threads: BridgeThreads) -> bool:
    try:
        return await threads.run(lambda: True, abandon=lambda _: None)
    finally:
        release.set()


def test_a_call_that_did_not_start_is_dropped_with_its_caller() -> None:
    threads = BridgeThreads(limit=1, acquisition_timeout=10)
    release, ran = threading.Event(), []

    async def main() -> None:
        first = asyncio.create_task(threads.run(lambda: release.wait(10), abandon=lambda _: None))
        second = asyncio.create_task(threads.run(lambda: ran.append("second"), abandon=lambda _: None))
        await asyncio.sleep(0.05)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        release.set()
        await first
        await threads.run(lambda: ran.append("third"), abandon=lambda _: None)

    asyncio.run(main())
    assert ran == ["third"]
    threads.close()


def test_closing_the_bridge_leaves_the_drivers_owner_in_charge(container: Container) -> None:
    async def main() -> None:
        driver: BridgedDriver = container.bridged_driver()
        await driver.verify_connectivity()
        await driver.close()

    asyncio.run(main())
    container.sync_driver().verify_connectivity()
    container.shutdown_resources()
