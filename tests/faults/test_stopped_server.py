"""A Neo4j that was sent SIGSTOP: the kernel takes what is sent, nobody answers. The driver alone waits 120 s."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from app_container import Container, create_container
from tests import PROJECT
from tests.support.servers import Server
from tests.support.waiting import stop_process
from wiring.local_neo4j import LocalNeo4j

PATIENCE = 40.0
"""Seconds; far more than the bounds under test, far less than the driver's own 120."""


@dataclass(frozen=True, kw_only=True)
class StoppableServer(Server):
    pid: int

    def stop(self) -> None:
        stop_process(self.pid)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoppableServer]:
    local = LocalNeo4j(tmp_path_factory.mktemp("stopped") / "neo4j")
    started = local.start()
    server = StoppableServer(started.uri, "neo4j", started.password, pid=started.pid)
    try:
        yield server
    finally:
        server.go_on()
        local.stop()


@pytest.fixture
def container(own_server: StoppableServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    for name, value in own_server.environment.items():
        monkeypatch.setenv(name, value)
    container = create_container()
    yield container
    own_server.go_on()
    container.shutdown_resources()
    own_server.until_no_connection_is_left()


def within_patience(call: Callable[[], Any]) -> Any:
    """What ``call`` returns or raises, in a thread; too late is a failure."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001 - the caller looks at it
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert outcome, f"still waiting after {PATIENCE:.0f} s"
    return outcome[0]


async def one(container: Container) -> int:
    records, _, _ = await container.async_driver().execute_query("RETURN 1 AS one")
    return int(records[0]["one"])


async def one_within_a_second(container: Container) -> int:
    async with asyncio.timeout(1):
        return await one(container)


@pytest.mark.parametrize("bound", ["asyncio.timeout", "the caller's"])
def test_the_worker_loop_comes_back_at_its_bound_and_works_when_the_server_does(
    container: Container, own_server: StoppableServer, bound: str
) -> None:
    loop = container.worker_loop()
    assert loop.run(one(container)) == 1
    own_server.stop()
    if bound == "asyncio.timeout":
        outcome = within_patience(lambda: loop.run(one_within_a_second(container)))
    else:
        outcome = within_patience(lambda: loop.run(one(container), timeout=1))
    assert type(outcome) is TimeoutError
    own_server.go_on()
    assert loop.run(one(container), timeout=PATIENCE) == 1


@pytest.mark.parametrize("when", ["with a connection", "before the first connection"])
def test_a_loop_ends_while_the_server_is_stopped(container: Container, own_server: StoppableServer, when: str) -> None:
    async def main() -> None:
        if when == "with a connection":
            await one(container)
        own_server.stop()
        await one_within_a_second(container)

    assert type(within_patience(lambda: asyncio.run(main()))) is TimeoutError


def test_everything_is_shut_down_while_the_server_is_stopped(container: Container, own_server: StoppableServer) -> None:
    container.sync_driver().verify_connectivity()
    container.worker_loop().run(one(container))
    own_server.stop()
    assert within_patience(container.shutdown_resources) is None


BRIDGED = """
import asyncio, sys
from app_container import create_container
from tests.support.waiting import stop_process

container = create_container()

async def main():
    async with container.bridged_driver().session() as session:
        await session.run("RETURN 1")
        stop_process(int(sys.argv[1]))
        async with asyncio.timeout(1):
            await session.run("RETURN 2")

try:
    asyncio.run(main())
except TimeoutError:
    print("bounded")
"""


def test_a_process_whose_bridge_waits_for_the_server_ends(container: Container, own_server: StoppableServer) -> None:
    assert not container.sync_driver.initialized
    done = subprocess.run(
        [sys.executable, "-c", BRIDGED, str(own_server.pid)],
        cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("bounded\n", "", 0)
