"""The right to change a workspace, which one process at a time has, for a while.

Whoever lost it without noticing, because it was stopped, cut off or slow, must not write any more. Its writes to Neo4j
carry its token, and the server compares it, see ``fenced_writes``. Before a write to any other storage the holder looks
at its own clock, see ``guarded_storages``.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from wiring.lightrag.errors import LeaseLostError
from wiring.lightrag.leases.holders import Holder

FENCES = 4
"""How many of a holder's transactions can write at once; each locks one of as many nodes, see ``fenced_writes``."""


@dataclass(slots=True)
class Lease:
    """Held from the moment it was taken until it ends, is given back, or is lost.

    Args:
        workspace: what may be changed.
        holder: by whom.
        token: grows with each lease of the workspace; the greatest is the one that counts.
        term: seconds it lasts without being renewed.
        ends: when it ends, in seconds of this process's ``time.monotonic()``.
        was_cut: whether the holder before never gave it back.
        interrupted: how often each document was found unfinished by a holder whose predecessor never gave it back.
    """

    workspace: str
    holder: Holder
    token: int
    term: float
    ends: float
    was_cut: bool
    interrupted: dict[str, int]
    drained: int = 0
    others_need_it: bool = False
    is_lost: bool = False
    is_given_back: bool = False
    _next_fence: int = 0

    @property
    def is_over(self) -> bool:
        """Whether another process may have it by now, as far as this process can know."""
        return self.is_lost or self.is_given_back or time.monotonic() >= self.ends

    def check(self) -> None:
        """See that it is still held, as far as this process can know.

        Raises:
            LeaseLostError: it is not.
            asyncio.CancelledError: it was given back.
        """
        if self.is_given_back:  # what works on was left behind by work that was cancelled
            raise asyncio.CancelledError(f"the work on workspace {self.workspace!r} is over")
        if self.is_over:
            self.lose()

    def lose(self) -> NoReturn:
        """Note that another process may have it by now.

        Raises:
            LeaseLostError: always.
        """
        self.is_lost = True
        raise LeaseLostError(
            f"the lease of workspace {self.workspace!r} was lost: it was not renewed within {self.term:g} s, "
            "or an operator released it; another worker goes on"
        )

    def fence(self) -> str:
        """The node that the next transaction locks; they take turns."""
        self._next_fence = (self._next_fence + 1) % FENCES
        return fence_key(self.workspace, self._next_fence)


def fence_key(workspace: str, number: int) -> str:
    """The name of one of a workspace's fences; no workspace has a slash in its name."""
    return f"{workspace}/{number}"


_held: contextvars.ContextVar[Lease | None] = contextvars.ContextVar("held_lease", default=None)


def held_lease() -> Lease | None:
    """The lease under which the running code works, and all that it started."""
    return _held.get()


@contextmanager
def under(lease: Lease) -> Iterator[None]:
    """Whatever is started in here works under ``lease``."""
    token = _held.set(lease)
    try:
        yield
    finally:
        _held.reset(token)
