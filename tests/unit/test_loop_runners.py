"""The value of a loop is closed with it, whoever runs the loop and however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import unittest
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvloop

from tests.support.things import Holder

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


def in_a_runner(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner() as runner:
        runner.run(main())


def by_hand(
    main: Callable[[], Coroutine[Any, Any, None]],
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> None:
    loop = new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def in_a_test_case(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    raised: list[BaseException] = []

    class Case(unittest.IsolatedAsyncioTestCase):
        async def test_it(self) -> None:
            try:
                await main()
            except BaseException as error:
                raised.append(error)
                raise

    Case("test_it").run(unittest.TestResult())
    if raised:
        raise raised[0]


RUNNERS: dict[str, Run] = {
    "asyncio.run": lambda main: asyncio.run(main()),
    "asyncio.Runner": in_a_runner,
    "run_until_complete and close": by_hand,
    "uvloop": lambda main: uvloop.run(main()),
    "uvloop, closed by hand": lambda main: by_hand(main, uvloop.new_event_loop),
    "anyio": anyio.run,
    "IsolatedAsyncioTestCase": in_a_test_case,
}


@pytest.mark.parametrize("end", ["return", "exception", "cancellation"])
@pytest.mark.parametrize("runner", RUNNERS)
def test_the_value_is_closed_once(holder: Any, runner: str, end: str) -> None:
    seen: list[Any] = []

    async def main() -> None:
        seen.append(holder.per_loop())
        assert await asyncio.create_task(_ask(holder)) is seen[0]
        if end == "exception":
            raise ZeroDivisionError
        if end == "cancellation":
            asyncio.current_task().cancel()  # type: ignore[union-attr]
            await asyncio.sleep(10)

    with contextlib.suppress(ZeroDivisionError, asyncio.CancelledError):
        RUNNERS[runner](main)
    assert [thing.closed for thing in seen] == [1]


async def _ask(holder: Any) -> Any:
    return holder.per_loop()


def test_an_asyncio_runner_that_runs_twice_keeps_its_value(holder: Any) -> None:
    with asyncio.Runner() as runner:
        one, two = runner.run(_ask(holder)), runner.run(_ask(holder))
        assert one is two
        assert one.closed == 0
    assert one.closed == 1


_seen: list[Any] = []
_of_this_module: Any = Holder()


@pytest.mark.asyncio
async def test_pytest_asyncio_has_a_value() -> None:
    _seen.append(_of_this_module.per_loop())
    assert await asyncio.create_task(_ask(_of_this_module)) is _seen[0]


def test_pytest_asyncio_closed_it() -> None:
    assert [thing.closed for thing in _seen] == [1]


INTERRUPTED = """
import asyncio, sys
from app_container.lifetimes import LoopLocalResource

class Thing:
    async def close(self):
        await asyncio.sleep(0)
        print("closed", flush=True)

per_loop = LoopLocalResource(Thing)

async def main():
    per_loop()
    print("ready", flush=True)
    {body}

asyncio.run(main())
"""


@pytest.mark.parametrize(("body", "interrupts"), [("await asyncio.sleep(60)", 1), ("while True: pass", 2)])
def test_ctrl_c_closes_it(body: str, interrupts: int, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("w") as out:
        process = subprocess.Popen([sys.executable, "-c", INTERRUPTED.format(body=body)], stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 30
        while "ready" not in output.read_text():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for _ in range(interrupts):  # the first one cancels the main task, which only an await can notice
            os.kill(process.pid, signal.SIGINT)
            time.sleep(0.3)
        process.wait(30)
    finally:
        process.kill()
        process.wait(10)
    assert output.read_text().splitlines()[:2] == ["ready", "closed"]
    assert output.read_text().splitlines()[-1] == "KeyboardInterrupt"
