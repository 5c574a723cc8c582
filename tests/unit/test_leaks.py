"""What is told of sessions and drivers that nobody closed. No server; connections are in tests/integration."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from app_container import Container, create_container
from tests.support.leaks import leaks_detected

# The driver's own warning, from its finaliser, is issued as ever: test runs of applications make an error of it.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

NEVER_CLOSED = (
    r"a session was never closed; it was opened at {file}:\d+ in {function}, \d+\.\d s ago; "
    r"use `with driver\.session\(\) as session:`, on an event loop `async with`"
)


def never_closed(function: Callable[..., Any]) -> str:
    return NEVER_CLOSED.format(file=re.escape(__file__), function=re.escape(function.__qualname__))


def in_a_thread(container: Container) -> None:
    container.sync_driver().session()


async def on_a_loop(container: Container) -> None:
    container.async_driver().session()


async def on_a_loop_that_passes(container: Container) -> None:
    container.bridged_driver().session()


@pytest.mark.parametrize("open_session", [in_a_thread, on_a_loop, on_a_loop_that_passes])
def test_a_session_that_nobody_closed_is_told_once_with_its_place(
    container: Container, caplog: pytest.LogCaptureFixture, open_session: Callable[[Container], Any]
) -> None:
    opening = open_session(container)
    if opening is not None:
        asyncio.run(opening)
    gc.collect()
    assert leaks_detected(container.metrics()) == {"session": 1}
    assert leaks_detected(container.metrics()) == {"session": 1}
    (line,) = caplog.messages
    assert re.fullmatch(never_closed(open_session), line)
    container.shutdown_resources()


def test_sessions_that_are_closed_are_not_told(container: Container, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with container.async_driver().session():
            pass
        async with container.bridged_driver().session():
            pass
        await container.async_driver().session().close()

    with container.sync_driver().session():
        pass
    asyncio.run(main())
    container.shutdown_resources()
    gc.collect()
    assert leaks_detected(container.metrics()) == {}
    assert caplog.messages == []


def test_a_caller_that_is_cancelled_while_no_thread_of_the_bridge_is_free_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", "x")
    monkeypatch.setenv("NEO4J_MAX_POOL_SIZE", "1")
    container = create_container()
    is_free = threading.Event()

    async def main() -> None:
        async def open_and_close() -> None:
            async with container.bridged_driver().session():
                closing.set()

        closing = asyncio.Event()
        only_thread = asyncio.create_task(
            container.bridge_threads().run(lambda: is_free.wait(30), abandon=lambda _: None)
        )
        await asyncio.sleep(0)
        cancelled = asyncio.create_task(open_and_close())
        await closing.wait()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        is_free.set()
        await only_thread

    asyncio.run(main())
    gc.collect()
    assert leaks_detected(container.metrics()) == {}
    assert caplog.messages == []
    container.shutdown_resources()


def test_the_drivers_own_warning_is_issued_as_ever(container: Container) -> None:
    with pytest.warns(ResourceWarning, match="unclosed  Session: <neo4j._sync.work.session.Session object"):
        in_a_thread(container)
    container.shutdown_resources()


def test_the_whole_stack_is_told_when_debug_lines_are_wanted(
    container: Container, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "app_container")
    in_a_thread(container)
    caplog.set_level(logging.WARNING, "app_container")
    caplog.clear()
    leaks_detected(container.metrics())
    (line,) = caplog.messages
    name = test_the_whole_stack_is_told_when_debug_lines_are_wanted.__name__
    assert re.search(
        rf"in in_a_thread, .* s ago \(the whole stack: .* in in_a_thread < {re.escape(__file__)}:\d+ in {name} < ", line
    )


def test_a_session_that_another_finaliser_closes_is_not_told(
    container: Container, caplog: pytest.LogCaptureFixture
) -> None:
    class Holder:
        def __init__(self) -> None:
            self.session = container.sync_driver().session()
            self.session.holder = self  # type: ignore[attr-defined] # so both are garbage together

        def __del__(self) -> None:
            self.session.close()

    Holder()
    gc.collect()
    assert leaks_detected(container.metrics()) == {}
    assert caplog.messages == []
    container.shutdown_resources()


def test_a_driver_that_goes_with_its_container_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", "x")
    lost = create_container()
    metrics = lost.metrics()
    lost.sync_driver()
    del lost
    create_container()  # or the last one would be kept
    gc.collect()
    assert leaks_detected(metrics) == {"driver": 1}
    (line,) = caplog.messages
    name = test_a_driver_that_goes_with_its_container_is_told.__name__
    assert re.match(rf"a driver was never closed; it was opened at {re.escape(__file__)}:\d+ in {name}, ", line)
    assert line.endswith("; call container.shutdown_resources() before its container or event loop is given up")


async def ask(container: Container) -> None:
    container.async_driver()


def by_run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


def by_hand(coroutine: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(coroutine)
    loop.close()


def by_hand_and_rightly(coroutine: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(coroutine)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@pytest.mark.parametrize("run", [by_run, by_hand, by_hand_and_rightly])
def test_a_loop_that_is_closed_before_its_driver_is_told(
    container: Container, caplog: pytest.LogCaptureFixture, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    run(ask(container))
    gc.collect()
    assert leaks_detected(container.metrics()) == ({"loop": 1} if run is by_hand else {})
    file = re.escape(__file__)
    told = (
        rf"an event loop was closed before its async driver, at {file}:\d+ in by_hand; the driver, closed now, was "
        rf"opened at {file}:\d+ in ask, \d+\.\d s ago; "
        r"use asyncio\.run\(\), or await container\.shutdown_resources\(\) before loop\.close\(\)"
    )
    assert [bool(re.fullmatch(told, line)) for line in caplog.messages] == ([True] if run is by_hand else [])


def test_a_forked_child_tells_nothing_of_what_its_parent_has(
    container: Container, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = [container.sync_driver().session() for _ in range(2)]
    lost = container.sync_driver().session()
    del lost  # found, and not yet told
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        caplog.clear()
        sessions.clear()
        gc.collect()
        answers.put((leaks_detected(container.metrics()), caplog.messages))

    process = context.Process(target=child)
    process.start()
    process.join(30)
    assert answers.get() == ({}, [])
    for session in sessions:
        session.close()
    assert leaks_detected(container.metrics()) == {"session": 1}
    container.shutdown_resources()


@pytest.mark.parametrize("what", ["session = ", ""])
def test_at_the_end_of_a_program_only_what_was_lost_before_is_told(what: str) -> None:
    program = f"""
import os
os.environ["NEO4J_PASSWORD"] = "x"
from app_container import create_container
container = create_container()
driver = container.sync_driver()
{what}driver.session()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stderr == "") is bool(what)
    assert bool(re.match(r"a session was never closed; it was opened at <string>:\d+ in <module>, ", done.stderr)) is (
        not what
    )


@pytest.mark.parametrize("where", ["leaks.lost_sessions", "pools.pool_watch"])
def test_a_driver_that_works_in_another_way_is_not_watched_and_works(
    container: Container, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    monkeypatch.setattr(f"app_container.{where}.NEEDED", ("no_more",))

    async def main() -> None:
        container.async_driver().session()

    container.sync_driver().session()
    asyncio.run(main())
    container.shutdown_resources()
    gc.collect()
    assert leaks_detected(container.metrics()) == {}
    (line,) = caplog.messages
    assert re.search(r" in this version of (it|the Neo4j driver): (Session|DirectBoltPool) has no no_more$", line)
