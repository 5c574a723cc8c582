"""The leases of workspaces, in the Neo4j that the graphs are in.

Each statement first writes to the node that it is about, which takes the server's lock on it, and only then reads what
is there, so two of them never see the same state. Time is the server's; no machine's clock has a say. A statement may
be done again when its answer was lost: who has the lease gets it again.

Nodes:
    ``LightRAGLease``: one for each workspace. Has ``token``, and while it is held ``holder`` and ``expires``.
    ``LightRAGFence``: ``FENCES`` for each workspace, with the token of the lease; writers lock one, takers all of them.
    ``LightRAGWaiter``: one for each who waits for the lease, with its number in the line, ``ticket``.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app_container.errors import describe
from app_container.transient import LOCK_TIMEOUTS, passing_cause
from wiring.lightrag.errors import WorkspaceUnavailableError
from wiring.lightrag.leases.holders import Holder, is_dead
from wiring.lightrag.leases.lease import FENCES, Lease, fence_key
from wiring.lightrag.leases.statements import GIVE_BACK, LEAVE, LIST, RELEASE, RENEW, TAKE, WAIT
from wiring.lightrag.schema import make_unique

_log = logging.getLogger("wiring.lightrag")

_NEVER = 2**62

WAITER_KEPT = 6.0
"""Seconds after which a waiter that has not asked again is forgotten; each asks at least every 2 s."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Somebody else has the lease, or is to have it first.

    Args:
        holder: who has it; None if it is free, but not for this one.
        is_dead: whether that process is gone, as far as can be seen from here.
        interrupted: as in ``Lease``.
    """

    holder: str | None
    is_dead: bool
    interrupted: dict[str, int]


@dataclass(frozen=True, slots=True)
class LeaseState:
    """A lease as people see it; times in seconds."""

    workspace: str
    is_held: bool
    host: str | None
    pid: int | None
    seconds: float
    left: float | None
    token: int
    drained: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Who waits for a lease.

    Args:
        waiting: how many.
        last: the number of the one that came last, which grow; 0 if nobody waits.
        alone: how many of them wait for something that the holder cannot do.
    """

    waiting: int
    last: int
    alone: int


@dataclass(frozen=True, slots=True)
class Released:
    """Whether somebody had the lease that an operator released, and who had it last."""

    was_held: bool
    host: str | None
    pid: int | None


class LeaseStore:
    """Takes, renews and gives back leases. Await its methods on a loop that lasts.

    Args:
        driver: gives the running loop's async driver.
        database: where the leases are.
        term: seconds a lease lasts without being renewed.
    """

    def __init__(self, driver: Callable[[], Any], database: str, term: float) -> None:
        self._driver = driver
        self._database = database
        self.term = term
        self._has_schema = False

    async def take(
        self, workspace: str, holder: Holder, *, alone: bool = False, dead: str | None = None
    ) -> Lease | Refused:
        """Take the lease if it is free, or wait in line for it: then ask again, at least every 2 s.

        Args:
            workspace: what is to be changed.
            holder: for whom; who has the lease already gets it again, with another token.
            alone: whether the holder shall end soon, because what waits cannot be done by it.
            dead: a holder that is known to be gone, so its lease is free. Should it live, it is fenced off.

        Raises:
            WorkspaceUnavailableError: the server is away, or something else that passes; that is its cause.
        """
        from neo4j.exceptions import DriverError, Neo4jError

        try:
            await self.ensure_schema()
            return await self._take(workspace, holder, alone=alone, dead=dead)
        except (Neo4jError, DriverError) as error:
            if isinstance(error, Neo4jError) and error.code in LOCK_TIMEOUTS:
                return Refused(None, is_dead=False, interrupted={})  # a transaction of the last holder has a fence
            if passing_cause(error) is None:
                raise
            reason = f"workspace {workspace!r} cannot be changed now, try it again: {describe(error)}"
            raise WorkspaceUnavailableError(reason) from error

    async def _take(self, workspace: str, holder: Holder, *, alone: bool, dead: str | None) -> Lease | Refused:
        began = time.monotonic()
        row = await self._run(
            TAKE,
            **_of(holder, workspace),
            dead=dead or "",
            term=_milliseconds(self.term),
            fences=_fences(workspace),
        )
        if row is not None:
            was_cut = row["before"] not in (None, holder.name)
            if was_cut:
                _log.warning(
                    "workspace %r: taken over from a process on %s that is gone, token %d",
                    workspace,
                    row["host_before"],
                    row["token"],
                )
            interrupted = json.loads(row["interrupted"])
            return Lease(workspace, holder, row["token"], self.term, began + self.term, was_cut, interrupted)
        row = await self._run(
            WAIT,
            **_of(holder, workspace),
            alone=alone,
            kept=_milliseconds(WAITER_KEPT),
        )
        is_gone = row["holder"] is not None and is_dead(row["machine"], row["pid"])
        return Refused(row["holder"], is_gone, json.loads(row["interrupted"]))

    async def renew(self, lease: Lease) -> Waiting:
        """Keep it for another term, and see who waits.

        Raises:
            LeaseLostError: it is another's by now.
        """
        began = time.monotonic()
        row = await self._run(RENEW, **self._own(lease), term=_milliseconds(self.term))
        if row is None:
            lease.lose()
        lease.ends = began + self.term
        return Waiting(row["waiting"], row["last"], row["alone"])

    async def give_back(self, lease: Lease, seen: int | None = None) -> int | None:
        """Let others have it; does nothing when it was lost.

        Args:
            lease: which is held.
            seen: keep it if somebody came to wait after the one with this number, for something that the holder can
                do. None to give it back anyhow.

        Returns:
            None, or the number of the one that came last.
        """
        row = await self._run(GIVE_BACK, **self._own(lease), seen=_NEVER if seen is None else seen)
        last: int | None = None if row is None else row["last"]
        lease.is_given_back = last is None
        return last

    async def leave(self, workspace: str, holder: Holder) -> None:
        """Wait no longer, and give back what was taken without an answer."""
        await self._run(LEAVE, workspace=workspace, holder=holder.name)

    async def release(self, workspace: str, *, files_moved: bool = False) -> Released | None:
        """Take it from whoever has it, who cannot write any more from then on. Returns None if there is no such lease.

        Args:
            workspace: whose lease.
            files_moved: whether another folder may be the home of the workspace's files, see ``file_home``.
        """
        row = await self._run(RELEASE, workspace=workspace, files_moved=files_moved, fences=_fences(workspace))
        return None if row is None else Released(row["was_held"], row["host"], row["pid"])

    async def list(self) -> list[LeaseState]:
        """All leases there are, held or not, by the names of their workspaces."""
        async with self.session() as session:
            rows = await session.execute_read(self._rows, LIST)
        return [LeaseState(**row) for row in rows]

    async def _rows(self, transaction: Any, query: str) -> Any:
        return await (await transaction.run(query)).data()

    def _own(self, lease: Lease) -> dict[str, Any]:
        return {
            "workspace": lease.workspace,
            "holder": lease.holder.name,
            "token": lease.token,
            "drained": lease.drained,
            "interrupted": json.dumps(lease.interrupted),
        }

    async def _run(self, query: str, **parameters: Any) -> Any:
        from neo4j import unit_of_work

        async def work(transaction: Any) -> Any:
            return await (await transaction.run(query, parameters)).single()

        async with self.session() as session:
            return await session.execute_write(unit_of_work(timeout=self.term)(work))

    def session(self) -> Any:
        """A session of the running loop's driver, where the leases are; to be entered with ``async with``."""
        return self._driver().session(database=self._database)

    async def ensure_schema(self) -> None:
        """Make the constraints that keep each lease single, unless this was done before."""
        if not self._has_schema:
            async with self.session() as session:
                for label, key in (
                    ("LightRAGLease", "workspace"),
                    ("LightRAGFence", "key"),
                    ("LightRAGWaiter", "holder"),
                ):
                    await make_unique(session, label, key)
            self._has_schema = True


def _of(holder: Holder, workspace: str) -> dict[str, Any]:
    return {
        "workspace": workspace,
        "holder": holder.name,
        "host": holder.host,
        "machine": holder.machine,
        "pid": holder.pid,
    }


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _fences(workspace: str) -> list[str]:
    return [fence_key(workspace, number) for number in range(FENCES)]
