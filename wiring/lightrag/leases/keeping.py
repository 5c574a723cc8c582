"""Work under a lease: it is renewed meanwhile, and the work is cancelled when it is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from app_container.errors import describe
from wiring.lightrag.cancelling import end
from wiring.lightrag.errors import LeaseLostError
from wiring.lightrag.leases.lease import Lease, under
from wiring.lightrag.leases.line import Line
from wiring.lightrag.leases.store import LeaseStore, Refused, Waiting

T = TypeVar("T")

_log = logging.getLogger("wiring.lightrag")


async def work_under(
    store: LeaseStore,
    lease: Lease,
    work: Callable[[], Coroutine[Any, Any, T]],
    on_waiting: Callable[[Waiting], Awaitable[None]] | None = None,
) -> T:
    """Do the work, which ends before the lease does.

    Args:
        store: renews the lease, at a third of its term.
        lease: which is held; it is not given back.
        work: what to do.
        on_waiting: told each time who waits for the lease.

    Raises:
        LeaseLostError: another process may have it by now; the work was cancelled.
    """
    with under(lease):
        task = asyncio.create_task(work())
        renewing = asyncio.create_task(_renew(store, lease, task, on_waiting))
    try:
        return await task
    except asyncio.CancelledError:
        if lease.is_lost:
            lease.lose()
        raise
    finally:
        renewing.cancel()


async def _renew(
    store: LeaseStore, lease: Lease, task: asyncio.Task[Any], on_waiting: Callable[[Waiting], Awaitable[None]] | None
) -> None:
    while not task.done():
        await asyncio.sleep(lease.term / 3)
        try:
            async with asyncio.timeout(lease.ends - time.monotonic()):
                waiting = await store.renew(lease)
            lease.others_need_it = waiting.alone > 0
            if on_waiting is not None:
                await on_waiting(waiting)
        except LeaseLostError as error:
            _log.warning("%s", error)
            await end(task)
        except Exception as error:  # noqa: BLE001 - whatever it is, the lease may still be held, and renewed next time
            _log.warning("the lease of workspace %r was not renewed: %s", lease.workspace, describe(error))
            if time.monotonic() >= lease.ends:
                lease.is_lost = True
                await end(task)


@asynccontextmanager
async def given_back(store: LeaseStore, lease: Lease) -> AsyncIterator[None]:
    """Give the lease back at the end, for certain, within its term."""
    try:
        yield
    finally:
        if not lease.is_over:
            await asyncio.shield(asyncio.ensure_future(_give_back(store, lease)))


async def _give_back(store: LeaseStore, lease: Lease) -> None:
    try:
        async with asyncio.timeout(lease.term):
            await store.give_back(lease)
    except Exception as error:  # noqa: BLE001 - it ends by itself
        _log.warning(
            "the lease of workspace %r was not given back, and ends by itself: %s", lease.workspace, describe(error)
        )


async def alone(store: LeaseStore, workspace: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Do what nobody else may do anything beside: wait in line for the lease, and do it.

    Raises:
        LeaseLostError: another process may have it by now; the work was cancelled.
    """
    lease = await _wait_in_line(Line(store, workspace))
    async with given_back(store, lease):
        return await work_under(store, lease, work)


async def _wait_in_line(line: Line) -> Lease:
    try:
        while isinstance(found := await line.ask(alone=True), Refused):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(line.pause)
    except BaseException:
        await line.leave()
        raise
    return found
