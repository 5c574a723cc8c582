"""One question to the server with a driver of its own: answered or given up within a bound, and nothing is left open.

A server that hangs takes connections and bytes and never answers. A sync driver waits there for 120 s, and nothing
lowers that; an async one can be interrupted at any moment. So what must not take longer is asked with an async driver,
which code without an event loop runs on one of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, TypeVar

from app_container.loop_connections import CLOSE_TIMEOUT, until_closed, watch_connections

if TYPE_CHECKING:
    from neo4j import AsyncDriver

T = TypeVar("T")


async def ask(
    build_driver: Callable[[], AsyncDriver], question: Callable[[AsyncDriver], Awaitable[T]], seconds: float
) -> T:
    """Build a driver, ask ``question`` with it, and close it again.

    Args:
        build_driver: makes a driver for the running loop.
        question: uses it.
        seconds: what connection and question may take together.

    Raises:
        TimeoutError: no answer came within ``seconds``.
    """
    watch_connections(asyncio.get_running_loop())
    try:
        async with asyncio.timeout(seconds) as bound, build_driver() as driver:
            return await question(driver)
    except TimeoutError:
        if bound.expired():
            raise TimeoutError(f"nothing came within {seconds:g} s") from None
        raise
    finally:
        await until_closed()


def without_a_loop(coroutine: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> T:
    """Run it in a thread of its own, on an event loop of its own; the caller may be anywhere, and waits.

    Args:
        coroutine: makes what runs, which is bounded itself.
        seconds: its bound.

    Raises:
        TimeoutError: it has not ended a while after its bound, because something stops the whole loop.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        # An own factory, so that the policy's current loop, which is the caller's, stays what it is.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            try:
                outcome.set_result(runner.run(coroutine()))
            except BaseException as error:  # noqa: BLE001 - it is raised where the caller waits
                outcome.set_exception(error)

    thread = threading.Thread(target=run, name="asking", daemon=True)
    thread.start()
    wait([outcome], seconds + 2 * CLOSE_TIMEOUT)
    # Whoever forks next must find no other thread. One that still looks up a name cannot be ended; it is left.
    thread.join(CLOSE_TIMEOUT)
    if not outcome.done():
        raise TimeoutError(f"nothing came within {seconds:g} s")
    return outcome.result()
