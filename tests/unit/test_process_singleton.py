"""One value per process, with values that count their closing. Sockets are counted in tests/integration."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from dependency_injector import containers, providers

from app_container.lifetimes import ProcessSingleton
from tests.support.things import Holder, Thing


def test_many_threads_get_one_value(holder: Any) -> None:
    barrier = threading.Barrier(64)

    def ask(_: int) -> Thing:
        barrier.wait(10)
        thing: Thing = holder.per_process()
        return thing

    with ThreadPoolExecutor(64) as pool:
        assert len(set(pool.map(ask, range(64)))) == 1


def test_a_factory_that_fails_is_tried_again_by_the_next_of_many_threads() -> None:
    made: list[Thing] = []
    failures = iter([ValueError("not yet"), ValueError("not yet")])
    barrier = threading.Barrier(16)

    def make() -> Thing:
        if failure := next(failures, None):
            raise failure
        made.append(Thing())
        return made[-1]

    provider: ProcessSingleton[Any] = ProcessSingleton(make)

    def ask(_: int) -> object:
        barrier.wait(10)
        try:
            return provider()
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(16)))
    assert answers.count("not yet") == 2
    assert [answer for answer in answers if answer != "not yet"] == made * 14
    provider.shutdown()


def test_shutdown_closes_once_and_a_later_caller_gets_a_new_value(holder: Any) -> None:
    first = holder.per_process()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: holder.shutdown_resources(), range(16)))
    assert first.closed == 1
    assert holder.per_process() is not first
    holder.shutdown_resources()


def test_a_forked_child_has_its_own_value_and_leaves_the_parents_open(holder: Any) -> None:
    parents = holder.per_process()
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child(levels: int) -> None:
        inherited_open = holder.per_process.initialized
        own = holder.per_process()
        if levels:
            grandchild = context.Process(target=child, args=(levels - 1,))
            grandchild.start()
            grandchild.join(10)
        holder.shutdown_resources()
        answers.put((os.getpid(), inherited_open, own.pid, own.closed, parents.closed))

    process = context.Process(target=child, args=(2,))
    process.start()
    process.join(10)
    seen = [answers.get() for _ in range(3)]
    assert len({pid for pid, *_ in seen} | {os.getpid()}) == 4
    assert [rest for _, *rest in seen] == [[False, pid, 1, 0] for pid, *_ in seen]
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


def _look(answers: Any) -> None:
    """What a child of any start method finds; the module is imported anew where nothing is inherited."""
    thing = _of_this_module.per_process()
    _of_this_module.shutdown_resources()
    answers.put((thing.pid, thing.closed))


_of_this_module = Holder()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_every_way_to_start_a_process_gives_it_its_own_value(method: str) -> None:
    mine = _of_this_module.per_process()
    context: Any = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    processes = [context.Process(target=_look, args=(answers,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert sorted(answers.get() for _ in processes) == sorted((process.pid, 1) for process in processes)
    assert _of_this_module.per_process() is mine
    _of_this_module.shutdown_resources()
    assert mine.closed == 1


@pytest.mark.parametrize("kind", [providers.ThreadSafeSingleton, ProcessSingleton])
def test_override_and_reset_are_dependency_injectors(kind: Callable[..., Any]) -> None:
    class Pair(containers.DeclarativeContainer):
        thing = kind(Thing)
        user = providers.Factory(list[Any], providers.List(thing))

    pair = Pair()
    first, fake, other = pair.thing(), object(), object()
    with pair.thing.override(fake):
        assert pair.thing() is pair.user()[0] is fake
        with pair.thing.override(other):
            assert pair.thing() is other
        assert pair.thing() is fake
    assert pair.thing() is first
    with pair.override_providers(thing=providers.Object(fake)):
        assert pair.user() == [fake]
    assert pair.user() == [first]

    with pair.thing.reset() as again:
        assert again is pair.thing
        second = pair.thing()
        assert second is not first
    third = pair.thing()
    assert third not in (first, second)
    if kind is ProcessSingleton:
        assert (first.closed, second.closed, third.closed) == (1, 1, 0)
    pair.thing.reset()


def test_a_value_made_from_a_fake_is_kept_until_it_is_reset() -> None:
    class Above(Thing):
        def __init__(self, below: object) -> None:
            super().__init__()
            self.below = below

    class Pair(containers.DeclarativeContainer):
        below: ProcessSingleton[Any] = ProcessSingleton(Thing)
        above: ProcessSingleton[Any] = ProcessSingleton(Above, below)

    pair: Any = Pair()
    with pair.below.override("a fake"), pair.above.reset():
        assert pair.above().below == "a fake"
    assert isinstance(pair.above().below, Thing)
    pair.shutdown_resources()


def test_what_is_open_at_the_end_of_the_interpreter_is_closed() -> None:
    script = """
import asyncio, threading
from app_container.lifetimes import LoopLocalResource, ProcessSingleton

class Thing:
    def __init__(self, name, *made_from): self.name = name
    def close(self):
        if self.name == "fails": raise ValueError("cannot be closed")
        print("closed", self.name)

first = ProcessSingleton(Thing, "first")
second = ProcessSingleton(Thing, "second", first)
fails = ProcessSingleton(Thing, "fails")
per_loop = LoopLocalResource(Thing, "on a loop")
second(), fails()

async def ask(): return per_loop()
loop = asyncio.new_event_loop()
loop.run_until_complete(ask())

running = asyncio.new_event_loop()
threading.Thread(target=running.run_forever, daemon=True).start()
asyncio.run_coroutine_threadsafe(ask(), running).result(10).name = "on a running loop"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["closed second", "closed first"]
    assert sorted(lines[2:]) == ["closed on a loop", "closed on a running loop"]
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("did not close: ValueError: cannot be closed\n")
