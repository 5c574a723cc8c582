from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

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


async def stubborn(release: threading.Event) -> None:
    """Cleans up when it is cancelled, and stops the whole loop meanwhile."""
    try:
        await asyncio.sleep(60)
    finally:
        release.wait(10)


async def block(runs: threading.Event, release: threading.Event) -> None:
    """Stops the whole loop."""
    runs.set()
    release.wait(10)


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


def test_an_exception_can_be_a_result(loop: WorkerLoop) -> None:
    async def one() -> Exception:
        return ZeroDivisionError("a result")

    assert isinstance(loop.run(one()), ZeroDivisionError)


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


def test_a_clean_up_that_takes_too_long_after_the_bound_is_abandoned() -> None:
    loop = WorkerLoop(shutdown_timeout=0.1)
    release = threading.Event()
    with pytest.raises(
        TimeoutError, match=r"stubborn did not end within 0\.05 s, nor did its clean-up; it was abandoned"
    ):
        loop.run(stubborn(release), timeout=0.05)
    release.set()
    assert loop.run(double(1), timeout=10) == 2
    loop.close()


@pytest.fixture
def interrupt() -> Iterator[Callable[[BaseException], None]]:
    """Raises an exception in the main thread a moment later, out of a signal handler, as Ctrl-C and Celery do."""

    def later(error: BaseException) -> None:
        def handler(*_: object) -> None:
            raise error

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.1)

    yield later
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SoftTimeLimitExceeded(), TimeoutError("somebody's alarm")])
def test_an_interrupted_caller_cancels_the_coroutine_and_waits_for_its_clean_up(
    loop: WorkerLoop, interrupt: Callable[[BaseException], None], error: BaseException
) -> None:
    events: list[str] = []

    async def endless() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            events.append("cleaned")

    interrupt(error)
    with pytest.raises(type(error)) as caught:
        loop.run(endless())
    assert caught.value is error
    assert events == ["cleaned"]


def test_an_interrupted_caller_does_not_wait_for_ever(
    interrupt: Callable[[BaseException], None], caplog: pytest.LogCaptureFixture
) -> None:
    loop = WorkerLoop(shutdown_timeout=0.1)
    release = threading.Event()
    interrupt(SoftTimeLimitExceeded())
    with pytest.raises(SoftTimeLimitExceeded):
        loop.run(stubborn(release))
    assert "stubborn did not clean up within 0.1 s after an interruption and was abandoned" in caplog.text
    release.set()
    loop.close()


def test_a_coroutine_that_something_else_cancelled_is_no_closed_loop(loop: WorkerLoop) -> None:
    async def awaits_a_cancelled_task() -> None:
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await task

    with pytest.raises(WorkerLoopError, match="awaits_a_cancelled_task was cancelled by something it awaited"):
        loop.run(awaits_a_cancelled_task())
    assert loop.run(double(1)) == 2


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
    runs, cleaned = threading.Event(), threading.Event()

    async def endless() -> None:
        runs.set()
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.set()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(loop.run, endless())
        assert runs.wait(10)
        loop.close()
        with pytest.raises(WorkerLoopError, match="was closed while the coroutine ran"):
            waiting.result(5)
    assert cleaned.is_set()
    with pytest.raises(WorkerLoopError, match=r"is closed; ask container\.worker_loop\(\)"):
        loop.run(double(1))


def test_close_is_bounded_and_tells_who_still_waits(caplog: pytest.LogCaptureFixture) -> None:
    loop = WorkerLoop(shutdown_timeout=0.1)
    runs, release = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(loop.run, block(runs, release))
        assert runs.wait(10)
        loop.close()
        assert "was abandoned" in caplog.text
        with pytest.raises(WorkerLoopError, match="was closed while the coroutine ran"):
            waiting.result(5)
    release.set()


def test_who_asks_while_it_closes_is_told_and_never_waits_for_ever(loop: WorkerLoop) -> None:
    runs, closing = threading.Event(), threading.Event()

    async def slow_to_end() -> None:
        runs.set()
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
        assert runs.wait(10)
        end = pool.submit(loop.close)
        assert closing.wait(5)
        late = pool.submit(run, double(1))
        end.result(5)
        assert late.result(5).startswith("the worker loop is closed")
        assert first.result(5) == "the worker loop was closed while the coroutine ran"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_a_coroutine_that_wants_to_end_the_process_ends_its_caller_and_not_the_loop(
    loop: WorkerLoop, error: BaseException
) -> None:
    async def leave() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        loop.run(leave())
    assert caught.value is error
    assert loop.run(double(1), timeout=10) == 2


def test_what_was_abandoned_before_it_started_never_starts() -> None:
    loop = WorkerLoop(shutdown_timeout=0.1)
    runs, release, started = threading.Event(), threading.Event(), threading.Event()

    async def late() -> None:
        started.set()

    with ThreadPoolExecutor(1) as pool:
        blocking = pool.submit(loop.run, block(runs, release))
        assert runs.wait(10)
        with pytest.raises(TimeoutError, match=r"late did not end within 0\.05 s, nor did its clean-up"):
            loop.run(late(), timeout=0.05)
        release.set()
        blocking.result(10)
    assert loop.run(double(1)) == 2  # what came before it had its turn
    assert not started.is_set()
    loop.close()


def test_closing_from_two_threads_is_closing_once() -> None:
    loop = WorkerLoop(shutdown_timeout=5)
    runs, cleaned = threading.Event(), threading.Event()

    async def slow_to_end() -> None:
        runs.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.2)
            cleaned.set()

    with ThreadPoolExecutor(3) as pool:
        waiting = pool.submit(loop.run, slow_to_end())
        assert runs.wait(10)
        for end in [pool.submit(loop.close) for _ in range(2)]:
            end.result(10)
        with pytest.raises(WorkerLoopError, match="was closed while the coroutine ran"):
            waiting.result(10)
    assert cleaned.is_set()


@pytest.mark.parametrize("why", ["interrupted", "too slow"])
def test_a_start_that_fails_leaves_no_thread(
    interrupt: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    main = WorkerLoop._main

    def slow(self: WorkerLoop) -> None:
        time.sleep(0.5)
        main(self)

    monkeypatch.setattr(WorkerLoop, "_main", slow)
    before = set(threading.enumerate())
    if why == "interrupted":
        interrupt(SoftTimeLimitExceeded())
    else:
        monkeypatch.setattr("app_container.worker_loop.START_TIMEOUT", 0.05)
    with pytest.raises((SoftTimeLimitExceeded, WorkerLoopError)):
        WorkerLoop(shutdown_timeout=5)
    assert set(threading.enumerate()) == before


def test_what_is_no_coroutine_is_refused(loop: WorkerLoop) -> None:
    with pytest.raises(TypeError, match=r"takes a coroutine, found <function double.*a function must be called"):
        loop.run(double)  # type: ignore[arg-type]
