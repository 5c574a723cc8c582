"""What lives how long, with values that count their closing. Sockets are counted in tests/integration."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from dependency_injector import containers, providers
from dependency_injector.wiring import Provide, inject

from app_container.errors import NoRunningLoopError
from app_container.lifetimes import LoopLocalResource, ProcessSingleton


class Thing:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class AsyncThing(Thing):
    async def close(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        self.closed += 1


class Holder(containers.DeclarativeContainer):
    per_process: ProcessSingleton[Any] = ProcessSingleton(Thing)
    per_loop: LoopLocalResource[Any] = LoopLocalResource(AsyncThing)


@pytest.fixture
def holder() -> Any:
    return Holder()


def test_many_threads_get_one_value(holder: Any) -> None:
    barrier = threading.Barrier(64)

    def ask(_: int) -> Thing:
        barrier.wait(10)
        thing: Thing = holder.per_process()
        return thing

    with ThreadPoolExecutor(64) as pool:
        assert len(set(pool.map(ask, range(64)))) == 1


def test_a_factory_that_fails_is_tried_again() -> None:
    answers: list[Any] = [ValueError("not yet"), Thing()]

    def make() -> Any:
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return answer

    provider: ProcessSingleton[Any] = ProcessSingleton(make)
    with pytest.raises(ValueError, match="not yet"):
        provider()
    assert isinstance(provider(), Thing)


def test_shutdown_closes_once_and_a_later_caller_gets_a_new_value(holder: Any) -> None:
    first = holder.per_process()
    holder.shutdown_resources()
    holder.shutdown_resources()
    assert first.closed == 1
    assert holder.per_process() is not first
    holder.shutdown_resources()


def test_a_forked_child_has_its_own_value_and_leaves_the_parents_open(holder: Any) -> None:
    parents = holder.per_process()
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        own = holder.per_process()
        holder.shutdown_resources()
        answers.put((own.pid, own.closed, parents.closed))

    processes = [context.Process(target=child) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(10)
    assert {answers.get() for _ in processes} == {(process.pid, 1, 0) for process in processes}
    assert holder.per_process() is parents
    assert parents.closed == 0
    holder.shutdown_resources()


def test_a_fork_while_another_thread_makes_the_value_does_not_hang_the_child() -> None:
    started, release = threading.Event(), threading.Event()

    def slow() -> Thing:
        started.set()
        release.wait(10)
        return Thing()

    provider: ProcessSingleton[Any] = ProcessSingleton(slow)
    thread = threading.Thread(target=provider)
    thread.start()
    started.wait(10)

    def make_in_child() -> None:
        release.set()
        provider()

    child = multiprocessing.get_context("fork").Process(target=make_in_child)
    child.start()
    child.join(10)
    release.set()
    thread.join(10)
    assert child.exitcode == 0
    provider.shutdown()


def test_override_and_its_end(holder: Any) -> None:
    fake = object()
    with holder.per_process.override(fake):
        assert holder.per_process() is fake
    assert isinstance(holder.per_process(), Thing)
    holder.shutdown_resources()


def test_one_value_per_loop_whoever_asks(holder: Any) -> None:
    async def main() -> list[Any]:
        async def ask() -> Any:
            return holder.per_loop()

        loop = asyncio.get_running_loop()
        things = await asyncio.gather(*(ask() for _ in range(5)))
        things.append(await asyncio.create_task(ask()))
        things.append(await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(ask(), loop).result(5)))
        called: asyncio.Future[Any] = loop.create_future()
        loop.call_soon(lambda: called.set_result(holder.per_loop()))
        things.append(await called)
        return things

    first, second = asyncio.run(main()), asyncio.run(main())
    assert len(set(first)) == len(set(second)) == 1
    assert first[0] is not second[0]
    assert first[0].closed == second[0].closed == 1


def test_loops_in_two_threads_have_two_values(holder: Any) -> None:
    async def main() -> Any:
        await asyncio.sleep(0.05)
        return holder.per_loop()

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: asyncio.run(main()), range(2))
    assert one is not two


@pytest.mark.parametrize("end", ["return", "exception", "cancel"])
def test_the_value_is_closed_however_the_loop_ends(holder: Any, end: str) -> None:
    seen: list[Any] = []

    async def main() -> None:
        seen.append(holder.per_loop())
        if end == "exception":
            raise ZeroDivisionError
        if end == "cancel":
            asyncio.current_task().cancel()  # type: ignore[union-attr]
            await asyncio.sleep(1)

    with contextlib.suppress(ZeroDivisionError, asyncio.CancelledError):
        asyncio.run(main())
    assert seen[0].closed == 1


def test_a_loop_closed_without_finalising_generators_closes_its_value(holder: Any) -> None:
    loop = asyncio.new_event_loop()

    async def ask() -> Any:
        return holder.per_loop()

    thing = loop.run_until_complete(ask())
    assert thing.closed == 0
    loop.close()
    assert thing.closed == 1


def test_shutdown_can_be_awaited_and_the_loop_used_again(holder: Any) -> None:
    async def main() -> tuple[Any, Any]:
        first = holder.per_loop()
        await holder.shutdown_resources()
        assert first.closed == 1
        return first, holder.per_loop()

    first, second = asyncio.run(main())
    assert first is not second
    assert (first.closed, second.closed) == (1, 1)


def test_nothing_keeps_a_loop_alive(holder: Any) -> None:
    async def main() -> tuple[Any, Any]:
        return weakref.ref(asyncio.get_running_loop()), weakref.ref(holder.per_loop())

    references = [reference for _ in range(20) for reference in asyncio.run(main())]
    gc.collect()
    assert [reference() for reference in references] == [None] * len(references)


def test_without_a_loop_the_error_says_what_to_do(holder: Any) -> None:
    with pytest.raises(NoRunningLoopError, match=r"outside a running event loop.*container\.sync_driver\(\)"):
        holder.per_loop()
    holder.shutdown_resources()  # and there is nothing to shut down


def test_a_value_that_does_not_close_is_abandoned(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr("app_container.lifetimes.CLOSE_TIMEOUT", 0.05)

    class Stuck:
        async def close(self) -> None:
            await asyncio.sleep(60)

    provider: LoopLocalResource[Any] = LoopLocalResource(Stuck)

    async def main() -> None:
        provider()

    asyncio.run(main())
    assert "did not close within" in caplog.text


def test_what_is_open_at_the_end_of_the_interpreter_is_closed() -> None:
    script = """
import asyncio
from app_container.lifetimes import LoopLocalResource, ProcessSingleton

class Thing:
    def __init__(self, name): self.name = name
    def close(self): print("closed", self.name)

first, second = ProcessSingleton(Thing, "first"), ProcessSingleton(Thing, "second")
per_loop = LoopLocalResource(Thing, "on a loop")
first(), second()

async def ask(): per_loop()
loop = asyncio.new_event_loop()
loop.run_until_complete(ask())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines() == ["closed second", "closed first", "closed on a loop"]
    assert done.stderr == ""


def test_injection_into_coroutines_gives_the_value_each_time(holder: Any) -> None:
    seen: list[Any] = []

    @inject
    async def work(thing: Any = Provide[Holder.per_loop]) -> None:
        seen.append(thing)

    sys.modules[__name__].__dict__["work"] = work
    holder.wire(modules=[__name__])

    async def main() -> None:
        await work()
        await asyncio.gather(work(), work())

    asyncio.run(main())
    holder.unwire()
    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_init_resources_makes_both_and_shutdown_can_be_awaited(holder: Any) -> None:
    async def main() -> list[Any]:
        await holder.shutdown_resources()  # nothing is open yet
        holder.init_resources()
        things = [holder.per_process(), holder.per_loop()]
        await holder.shutdown_resources()
        return things

    assert [thing.closed for thing in asyncio.run(main())] == [1, 1]


def test_factories_that_take_these_as_arguments_stay_synchronous(holder: Any) -> None:
    pair = providers.Factory(lambda one, two: (one, two), holder.per_process, holder.per_loop)

    async def main() -> Any:
        return pair()

    one, two = asyncio.run(main())
    assert isinstance(one, Thing)
    assert isinstance(two, AsyncThing)
    holder.shutdown_resources()
