"""One value per event loop, with values that count their closing. Sockets are counted in tests/integration."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import multiprocessing
import sys
import tracemalloc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from dependency_injector import providers
from dependency_injector.wiring import Provide, inject

from app_container.errors import EndingLoopError, NoRunningLoopError
from app_container.lifetimes import LoopLocalResource
from tests.support.things import AsyncThing, Holder, Thing


def _set_result(future: asyncio.Future[Any], ask: Callable[[], Any]) -> None:
    future.set_result(ask())


def test_one_value_per_loop_whoever_asks(holder: Any) -> None:
    async def main() -> list[Any]:
        async def ask() -> Any:
            return holder.per_loop()

        loop = asyncio.get_running_loop()
        things = await asyncio.gather(*(ask() for _ in range(5)))
        things.append(await asyncio.create_task(ask()))
        things.append(await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(ask(), loop).result(5)))
        things.append(await asyncio.create_task(ask(), context=contextvars.Context()))
        things.append(contextvars.Context().run(holder.per_loop))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask()) for _ in range(5)]
        things.extend(task.result() for task in tasks)
        for call in (loop.call_soon, partial(loop.call_later, 0.001), loop.call_soon_threadsafe):
            called: asyncio.Future[Any] = loop.create_future()
            call(_set_result, called, holder.per_loop)
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


def test_a_loop_closed_without_finalising_generators_closes_its_value(holder: Any) -> None:
    loop = asyncio.new_event_loop()

    async def ask() -> Any:
        return holder.per_loop()

    thing = loop.run_until_complete(ask())
    assert thing.closed == 0
    loop.close()
    assert thing.closed == 1


def test_a_task_that_asks_while_its_loop_is_closed_is_refused(holder: Any) -> None:
    loop = asyncio.new_event_loop()
    refused: list[str] = []

    async def ask_again() -> None:
        holder.per_loop()
        while not refused:
            await asyncio.sleep(0)
            try:
                holder.per_loop()
            except EndingLoopError as error:
                refused.append(str(error))

    async def main() -> Any:
        task = asyncio.create_task(ask_again())
        await asyncio.sleep(0)
        return holder.per_loop(), task

    thing, task = loop.run_until_complete(main())
    loop.close()
    assert thing.closed == 1
    assert refused == ["AsyncThing was asked for on an event loop that is being closed; end its tasks before it"]
    assert task.done()


def test_a_loop_is_closed_while_another_runs_in_the_thread(holder: Any) -> None:
    loop = asyncio.new_event_loop()

    async def ask() -> Any:
        return holder.per_loop()

    thing = loop.run_until_complete(ask())

    async def main() -> None:
        loop.close()

    asyncio.run(main())
    assert thing.closed == 1
    assert loop.is_closed()


def test_shutdown_can_be_awaited_and_the_loop_used_again(holder: Any) -> None:
    async def main() -> tuple[Any, Any]:
        first = holder.per_loop()
        await holder.shutdown_resources()
        assert first.closed == 1
        return first, holder.per_loop()

    first, second = asyncio.run(main())
    assert first is not second
    assert (first.closed, second.closed) == (1, 1)


def test_who_asks_while_the_value_is_being_closed_gets_a_new_one(holder: Any) -> None:
    async def main() -> list[Any]:
        first = holder.per_loop()
        ends = [asyncio.ensure_future(holder.shutdown_resources()) for _ in range(3)]
        await asyncio.sleep(0)
        second = holder.per_loop()
        await asyncio.gather(*ends)
        return [first, second, holder.per_loop()]

    things = asyncio.run(main())
    assert len(set(things)) >= 2
    assert [thing.closed for thing in things] == [1, 1, 1]


def test_a_factory_that_fails_leaves_nothing_and_is_tried_again() -> None:
    answers: list[Any] = [ValueError("not yet"), AsyncThing()]

    def make() -> Any:
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return answer

    provider: LoopLocalResource[Any] = LoopLocalResource(make)

    async def main() -> Any:
        with pytest.raises(ValueError, match="not yet"):
            provider()
        assert not provider.initialized
        return provider()

    assert asyncio.run(main()).closed == 1


def test_a_child_of_fork_that_ends_an_inherited_loop_leaves_the_parents_value_open(holder: Any) -> None:
    loop = asyncio.new_event_loop()

    async def ask() -> Any:
        return holder.per_loop()

    parents = loop.run_until_complete(ask())
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        own = loop.run_until_complete(ask())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        answers.put((own is parents, own.closed, parents.closed))

    process = context.Process(target=child)
    process.start()
    process.join(10)
    assert answers.get() == (False, 1, 0)
    assert loop.run_until_complete(ask()) is parents
    loop.close()
    assert parents.closed == 1


def test_a_thousand_loops_leave_no_memory_behind(holder: Any) -> None:
    async def main() -> None:
        holder.per_loop()

    def loops(number: int) -> int:
        for _ in range(number):
            asyncio.run(main())
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = loops(200)
        after = loops(1000)
        later = loops(1000)
    finally:
        tracemalloc.stop()
    # 100 bytes a loop: less than any object that were left. What loops leave, both thousands do; but once in a while
    # one of Python's own tables outgrows its block, and has a new one of megabytes.
    assert min(after - before, later - after) < 100 * 1000


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
    monkeypatch.setattr("app_container.loop_local.CLOSE_TIMEOUT", 0.05)

    class Stuck:
        async def close(self) -> None:
            await asyncio.sleep(60)

    provider: LoopLocalResource[Any] = LoopLocalResource(Stuck)

    async def main() -> None:
        provider()

    asyncio.run(main())
    assert "did not close within" in caplog.text


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
