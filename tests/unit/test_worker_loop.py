from __future__ import annotations

import asyncio
import contextvars
import threading
import time
import traceback
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app_container.errors import WorkerLoopError
from app_container.worker_loop import WorkerLoop


@pytest.fixture
def loop() -> Iterator[WorkerLoop]:
    loop = WorkerLoop(shutdown_timeout=2.0)
    yield loop
    loop.close()


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


def test_many_threads_use_one_loop(loop: WorkerLoop) -> None:
    async def where() -> int:
        return id(asyncio.get_running_loop())

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda n: loop.run(double(n)), range(500))) == [2 * n for n in range(500)]
        assert len(set(pool.map(lambda _: loop.run(where()), range(100)))) == 1


def test_an_exception_keeps_its_traceback(loop: WorkerLoop) -> None:
    async def failing() -> None:
        raise ZeroDivisionError("inside")

    with pytest.raises(ZeroDivisionError, match="inside") as caught:
        loop.run(failing())
    assert "in failing" in "".join(traceback.format_tb(caught.value.__traceback__))


def test_a_bound_cancels_the_coroutine(loop: WorkerLoop) -> None:
    cleaned: list[str] = []

    async def endless() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append("up")

    with pytest.raises(TimeoutError, match=r"endless did not end within 0\.05 s and was cancelled"):
        loop.run(endless(), timeout=0.05)
    assert cleaned == ["up"]


def test_a_timeout_of_the_coroutines_own_is_passed_on_as_it_is(loop: WorkerLoop) -> None:
    async def own() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match=r"^mine$"):
        loop.run(own(), timeout=5)


def test_an_interrupted_caller_cancels_the_coroutine_and_waits_for_its_clean_up(
    loop: WorkerLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    running = threading.Event()

    async def endless() -> None:
        running.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            events.append("cleaned")

    def interrupt(_self: object, timeout: float | None = None) -> None:  # noqa: ARG001 - as Future.result
        running.wait(5)
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.Future.result", interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run(endless())
    assert events == ["cleaned"]


def test_it_cannot_wait_for_itself(loop: WorkerLoop) -> None:
    async def nested() -> int:
        return loop.run(double(1))

    with pytest.raises(WorkerLoopError, match="called on the worker loop itself"):
        loop.run(nested())


def test_the_callers_context_is_seen(loop: WorkerLoop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("the caller's")

    async def read() -> str:
        return variable.get()

    assert loop.run(read()) == "the caller's"


def test_close_cancels_what_runs_and_a_closed_loop_says_so(loop: WorkerLoop) -> None:
    cleaned = threading.Event()

    async def endless() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.set()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(loop.run, endless())
        time.sleep(0.05)
        loop.close()
        with pytest.raises(WorkerLoopError, match="was closed while the coroutine ran"):
            waiting.result(5)
    assert cleaned.is_set()
    with pytest.raises(WorkerLoopError, match=r"is closed; ask container\.worker_loop\(\)"):
        loop.run(double(1))


def test_close_is_bounded_and_tells_who_still_waits(caplog: pytest.LogCaptureFixture) -> None:
    loop = WorkerLoop(shutdown_timeout=0.1)
    release = threading.Event()

    async def block() -> None:
        release.wait(10)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(loop.run, block())
        time.sleep(0.05)
        loop.close()
        assert "was abandoned" in caplog.text
        with pytest.raises(WorkerLoopError, match="was closed while the coroutine ran"):
            waiting.result(5)
    release.set()


def test_who_asks_while_it_closes_is_told_and_never_waits_for_ever(loop: WorkerLoop) -> None:
    closing = threading.Event()

    async def slow_to_end() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            closing.set()
            await asyncio.sleep(0.5)

    def run(coroutine: Coroutine[Any, Any, Any]) -> str:
        try:
            return str(loop.run(coroutine))
        except WorkerLoopError as error:
            return str(error)

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(run, slow_to_end())
        time.sleep(0.1)
        end = pool.submit(loop.close)
        assert closing.wait(5)
        late = pool.submit(run, double(1))
        end.result(5)
        assert late.result(5).startswith("the worker loop is closed")
        assert first.result(5) == "the worker loop was closed while the coroutine ran"
