"""``WorkerLoop.run_async``: what is awaited on another loop and runs on the worker loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator

import anyio
import pytest

from app_container.errors import WorkerLoopError
from app_container.worker_loop import WorkerLoop


@pytest.fixture
def loop() -> Iterator[WorkerLoop]:
    loop = WorkerLoop(shutdown_timeout=2.0)
    yield loop
    loop.close()


class Work:
    """Waits for ever, and cleans up for a while when it is cancelled."""

    def __init__(self, clean_up: float = 0.1) -> None:
        self.began = threading.Event()
        self.cleaned_up = threading.Event()
        self._clean_up = clean_up

    async def __call__(self) -> None:
        self.began.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(self._clean_up)
            self.cleaned_up.set()

    async def until_it_began(self) -> None:
        assert await asyncio.to_thread(self.began.wait, 10)


async def where() -> int:
    await asyncio.sleep(0)
    return threading.get_ident()


def test_many_loops_await_what_runs_on_one(loop: WorkerLoop) -> None:
    async def main() -> set[int]:
        return set(await asyncio.gather(*(loop.run_async(where()) for _ in range(100))))

    threads = [asyncio.run(main()) for _ in range(3)]
    assert threads == [{loop.run(where())}] * 3


def test_the_callers_loop_goes_on_meanwhile(loop: WorkerLoop) -> None:
    async def main() -> str:
        released = asyncio.Event()
        here = asyncio.get_running_loop()

        async def release() -> str:
            here.call_soon_threadsafe(released.set)
            return "done"

        waiting = asyncio.create_task(loop.run_async(release()))
        await asyncio.wait_for(released.wait(), 10)
        return await waiting

    assert asyncio.run(main()) == "done"


def test_on_the_worker_loop_itself_it_is_awaited(loop: WorkerLoop) -> None:
    async def outer() -> int:
        return await loop.run_async(where())

    assert loop.run(outer()) == loop.run(where())


def test_the_callers_context_is_seen(loop: WorkerLoop) -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")

    async def main() -> str:
        name.set("caller")
        return await loop.run_async(read())

    async def read() -> str:
        return name.get()

    assert asyncio.run(main()) == "caller"


def test_an_exception_is_raised_where_it_is_awaited(loop: WorkerLoop) -> None:
    async def failing() -> None:
        raise ZeroDivisionError("inside")

    with pytest.raises(ZeroDivisionError, match="inside"):
        asyncio.run(loop.run_async(failing()))


def test_a_cancelled_caller_cancels_it_and_waits_for_its_clean_up(loop: WorkerLoop) -> None:
    async def main() -> None:
        work = Work()
        waiting = asyncio.create_task(loop.run_async(work()))
        await work.until_it_began()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert work.cleaned_up.is_set()

    asyncio.run(main())


def test_a_timeout_around_it_is_a_timeout(loop: WorkerLoop) -> None:
    async def main() -> None:
        work = Work()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await loop.run_async(work())
        assert work.cleaned_up.is_set()

    asyncio.run(main())


def test_a_timeout_of_anyio_which_cancels_again_and_again_waits_for_its_clean_up(loop: WorkerLoop) -> None:
    async def main() -> None:
        work = Work()
        with pytest.raises(TimeoutError), anyio.fail_after(0.2):
            await loop.run_async(work())
        assert work.cleaned_up.is_set()

    asyncio.run(main())


def test_a_clean_up_that_takes_too_long_is_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    loop = WorkerLoop(shutdown_timeout=0.2)

    async def main() -> None:
        work = Work(clean_up=1.0)
        waiting = asyncio.create_task(loop.run_async(work()))
        await work.until_it_began()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not work.cleaned_up.is_set()

    asyncio.run(main())
    assert "did not clean up within 0.2 s after an interruption" in caplog.text
    loop.close()


def test_a_coroutine_that_something_else_cancelled_is_no_cancelled_caller(loop: WorkerLoop) -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(WorkerLoopError, match="cancelled by something it awaited"):
        asyncio.run(loop.run_async(cancelled()))


def test_who_waits_when_it_closes_is_told(loop: WorkerLoop) -> None:
    async def main() -> None:
        work = Work(clean_up=0.0)
        waiting = asyncio.create_task(loop.run_async(work()))
        await work.until_it_began()
        await asyncio.to_thread(loop.close)
        with pytest.raises(WorkerLoopError, match="was closed while the coroutine ran"):
            await waiting
        with pytest.raises(WorkerLoopError, match="the worker loop is closed"):
            await loop.run_async(where())

    asyncio.run(main())


def test_what_is_no_coroutine_is_refused(loop: WorkerLoop) -> None:
    with pytest.raises(TypeError, match=r"takes a coroutine, found <function where"):
        asyncio.run(loop.run_async(where))  # type: ignore[arg-type]
