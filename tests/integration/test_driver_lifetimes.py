"""Real drivers on a real server: how many are opened, what closes them, and what the server sees of it."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import psutil
import pytest
import uvloop
from neo4j import AsyncDriver

from app_container import Container, create_container
from app_container.errors import ForeignLoopError
from tests.support.proxy import Proxy
from tests.support.servers import Server

RUN: dict[str, Callable[[Container, Coroutine[Any, Any, Any]], Any]] = {
    "asyncio.run": lambda _, coroutine: asyncio.run(coroutine),
    "uvloop.run": lambda _, coroutine: uvloop.run(coroutine),
    "the worker loop": lambda container, coroutine: container.worker_loop().run(coroutine, timeout=60),
}


async def one(container: Container) -> int:
    records, _, _ = await container.async_driver().execute_query("RETURN 1 AS one")
    return int(records[0]["one"])


def test_a_thousand_loops_open_and_close_a_thousand_drivers_and_leave_nothing(
    container: Container,
    neo4j_server: Server,
    connections_opened: Callable[[], int],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: Counter[str] = Counter()

    class Count(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            counted[record.msg.partition(" ")[0]] += 1

    log = logging.getLogger("app_container")
    caplog.set_level(logging.INFO, logger=log.name)
    monkeypatch.setattr(log, "propagate", False)  # pytest would keep every line, in the memory that is measured
    monkeypatch.setattr(log, "handlers", [Count()])

    def loops(number: int) -> int:
        assert sum(asyncio.run(one(container)) for _ in range(number)) == number
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    loops(500)
    tracemalloc.start()
    try:
        in_use = [loops(100) for _ in range(5)]
    finally:
        tracemalloc.stop()
    assert counted == {"opened": 1000, "closed": 1000}
    assert connections_opened() == 1000
    neo4j_server.until_no_connection_is_left()
    # What is kept of each loop grows in every hundred; what was freed before the count and is made anew, only in some.
    assert (
        min(after - before for before, after in pairwise(in_use)) < 100 * 100
    )  # bytes: less than any object of a loop


def test_a_driver_of_a_process_is_its_own_however_the_process_is_started(
    container: Container,
    environment: dict[str, str],
    neo4j_server: Server,
    connections_opened: Callable[[], int],
) -> None:
    driver = container.sync_driver()
    with driver.session() as session, session.begin_transaction() as transaction:
        transaction.run("RETURN 1").consume()
        for method in ("fork", "spawn", "forkserver"):
            context: Any = multiprocessing.get_context(method)
            process = context.Process(target=query_in_a_child, args=(environment,))
            process.start()
            process.join(60)
            assert process.exitcode == 0, method
        child = os.fork()
        if child == 0:  # the plainest of children, which leaves without ending anything
            container.sync_driver().verify_connectivity()
            os._exit(0 if container.sync_driver() is not driver else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert transaction.run("RETURN 2 AS two").single(strict=True)["two"] == 2
    assert container.sync_driver() is driver
    assert connections_opened() == 5
    container.shutdown_resources()
    neo4j_server.until_no_connection_is_left()


def query_in_a_child(environment: dict[str, str]) -> None:
    os.environ.update(environment)  # a fork server has those of its own start
    container = create_container()
    container.sync_driver().verify_connectivity()
    container.shutdown_resources()


def test_a_worker_loop_that_ran_before_a_fork_goes_on_and_the_child_has_its_own(
    container: Container, neo4j_server: Server
) -> None:
    assert not container.worker_loop.initialized
    mine = container.worker_loop()
    assert mine.run(one(container)) == 1
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        own = container.worker_loop()
        answers.put((own is mine, own.run(one(container), timeout=30)))
        container.shutdown_resources()

    process = context.Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert answers.get() == (False, 1)
    assert container.worker_loop().run(one(container)) == 1
    container.shutdown_resources()
    neo4j_server.until_no_connection_is_left()


def test_ten_thousand_calls_from_sixteen_threads_need_one_driver_and_few_connections(
    container: Container, connections_opened: Callable[[], int]
) -> None:
    loop = container.worker_loop()

    async def number(n: int) -> tuple[int, int]:
        if n % 100 == 0:
            assert await one(container) == 1
        return n, id(asyncio.get_running_loop())

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: loop.run(number(n), timeout=30), range(10_000)))
    assert [n for n, _ in answers] == list(range(10_000))
    assert len({where for _, where in answers}) == 1
    assert connections_opened() <= 16


def test_a_driver_kept_from_another_loop_says_so_at_once(container: Container) -> None:
    kept: list[AsyncDriver] = []

    async def keep() -> None:
        kept.append(container.async_driver())
        await kept[0].verify_connectivity()

    async def use(name: str) -> None:
        answer = getattr(kept[0], name)()
        if inspect.isawaitable(answer):
            await answer

    public = {name for name, _ in inspect.getmembers(AsyncDriver, inspect.isfunction) if not name.startswith("_")}
    container.worker_loop().run(keep())
    for name in sorted(public):
        says = rf"{name}\(\) was called on an async driver of another event loop, .* call container\.async_driver\(\)"
        with pytest.raises(ForeignLoopError, match=says):
            asyncio.run(use(name))
    container.worker_loop().run(kept[0].verify_connectivity())  # a coroutine may be made elsewhere


@pytest.fixture(params=["proxy", "tls_proxy"])
def way(
    environment: dict[str, str],  # noqa: ARG001 - it is what this changes
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Proxy:
    """The way to the server, over TCP and over TLS."""
    proxy: Proxy = request.getfixturevalue(request.param)
    monkeypatch.setenv("NEO4J_URI", proxy.uri)
    return proxy


@pytest.mark.parametrize("runner", RUN)
def test_connections_are_opened_without_delay(way: Proxy, runner: str) -> None:
    container = create_container()
    nodelay: list[bool] = []

    async def look() -> None:
        driver = container.async_driver()
        async with driver.session() as session, await session.begin_transaction() as transaction:
            await (await transaction.run("RETURN 1")).consume()
            nodelay.extend(option_of_sockets_to(way.port))

    RUN[runner](container, look())
    container.shutdown_resources()
    assert nodelay == [True]


def option_of_sockets_to(port: int) -> list[bool]:
    """TCP_NODELAY of this process's connections to a local port."""
    found = []
    for connection in psutil.Process().net_connections("tcp"):
        if connection.raddr and connection.raddr.port == port:
            with socket.socket(fileno=os.dup(connection.fd)) as same:
                found.append(bool(same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
    return found


def test_who_is_cancelled_while_a_connection_opens_leaves_none(way: Proxy) -> None:
    container = create_container()
    way.stop()

    async def main() -> None:
        opening = [asyncio.create_task(one(container)) for _ in range(3)]
        await until(lambda: way.accepted == 3)
        for task in opening:
            task.cancel()
        assert [type(end) for end in await asyncio.gather(*opening, return_exceptions=True)] == [
            asyncio.CancelledError
        ] * 3
        way.go_on()
        assert await one(container) == 1
        await until(lambda: way.open == 1)

    asyncio.run(asyncio.wait_for(main(), 30))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - it changes in another thread
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("runner", RUN)
@pytest.mark.parametrize("what", ["hangs", "is gone"])
def test_a_server_that_hangs_or_is_gone_keeps_no_loop_from_ending(way: Proxy, runner: str, what: str) -> None:
    container = create_container()

    async def hang() -> None:
        assert await one(container) == 1
        if what == "hangs":
            way.stop()
        else:
            await asyncio.to_thread(way.cut)
        async with asyncio.timeout(0.5):
            await one(container)

    def run() -> None:
        with pytest.raises(TimeoutError):
            RUN[runner](container, hang())
        container.shutdown_resources()
        ended.set()

    ended = threading.Event()
    threading.Thread(target=run, daemon=True).start()
    assert ended.wait(30)


LEFT_OPEN = """
import asyncio, threading
from app_container import create_container

container = create_container()
container.sync_driver().verify_connectivity()

async def look():
    await container.async_driver().verify_connectivity()

loop = asyncio.new_event_loop()
loop.run_until_complete(look())

running = asyncio.new_event_loop()
threading.Thread(target=running.run_forever, daemon=True).start()
asyncio.run_coroutine_threadsafe(look(), running).result(30)

container.worker_loop().run(look())
"""


def test_a_process_that_ends_with_everything_open_leaves_nothing(
    environment: dict[str, str], neo4j_server: Server, connections_opened: Callable[[], int]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN], env=os.environ | environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert connections_opened() == 4
    neo4j_server.until_no_connection_is_left()
