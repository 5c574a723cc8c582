"""Waiting for a lease: ask, and ask again after a pause that grows, or at once when its holder is seen to be gone."""

from __future__ import annotations

import asyncio
import logging

from app_container.errors import describe
from wiring.lightrag.leases.holders import new_holder
from wiring.lightrag.leases.lease import Lease
from wiring.lightrag.leases.store import LeaseStore, Refused

LONGEST_PAUSE = 2.0
"""Seconds between two attempts to get a lease; they begin with ``FIRST_PAUSE`` and grow."""

FIRST_PAUSE = 0.1
GROWTH = 1.5

LEAVE_TIMEOUT = 2.0

_log = logging.getLogger("wiring.lightrag")


class Line:
    """The line of those who want the lease of a workspace, as one of them sees it.

    Args:
        store: where the lease is.
        workspace: what is to be changed.
    """

    def __init__(self, store: LeaseStore, workspace: str) -> None:
        self._store = store
        self._workspace = workspace
        self._holder = new_holder()
        self._dead: str | None = None
        self._next_pause = FIRST_PAUSE
        self.is_in_it = False
        self.pause = 0.0
        """Seconds after which to ask again, since the last refusal."""

    async def ask(self, *, alone: bool) -> Lease | Refused:
        """Take the lease, or stand in line for it; arguments and errors are those of ``LeaseStore.take``."""
        self.is_in_it = True  # also if this is cancelled on the way
        found = await self._store.take(self._workspace, self._holder, alone=alone, dead=self._dead)
        if isinstance(found, Lease):
            self._forget()
        elif found.is_dead:
            self._dead, self.pause = found.holder, 0.0
        else:
            self._dead, self.pause = None, self._next_pause
            self._next_pause = min(self._next_pause * GROWTH, LONGEST_PAUSE)
        return found

    async def leave(self) -> None:
        """Wait no longer; at most ``LEAVE_TIMEOUT``, for who does not ask again is forgotten anyhow."""
        was_in_it, left = self.is_in_it, self._holder
        self._forget()
        if not was_in_it:
            return
        # It may come late, and gives back what that holder has: not what this process has taken again by then.
        self._holder = new_holder()
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT):
                await asyncio.shield(asyncio.ensure_future(self._store.leave(self._workspace, left)))
        except Exception as error:  # noqa: BLE001 - there may be a better reason for leaving, which is told then
            _log.debug("still in line for the lease of workspace %r: %s", self._workspace, describe(error))

    def _forget(self) -> None:
        self.is_in_it, self._dead, self._next_pause, self.pause = False, None, FIRST_PAUSE, 0.0
