"""Finds sessions that are lost: garbage that nobody closed. Their connections go back to the pool.

What still has an answer to come is not garbage: the pool has its connection, the connection keeps the result that will
take the answer, and that its session (neo4j 6.4). Such a session is only found to be overdue.

A driver is let make its sessions of a subclass that has a finaliser. The driver's own finaliser still issues
its ResourceWarning, which Python shows only to developers, and of which test runs make errors; logs have it from here.
"""

from __future__ import annotations

import functools
import inspect
import sys
import weakref
from collections.abc import Callable
from typing import Any

from app_container.leaks.call_site import CallSite, call_site
from app_container.leaks.found_leaks import note
from app_container.leaks.lent_connections import LentConnections

NEEDED = ("__del__", "_connect", "_connection")
"""What the class of sessions must have."""

_WATCH = "_app_container_watch"
_OUTCOMES = {"done": "; its connection was given back", "too late": "; its connection ended with its event loop"}


def watch_sessions(driver: Any, lent: LentConnections, lost: Callable[[CallSite, str], None]) -> None:
    """From now on, watch the sessions of ``driver``, also those of its ``execute_query``.

    Args:
        driver: a sync or an async one.
        lent: the connections of its pool.
        lost: is told of a session that was lost: where it was opened, and what became of its connection.

    Raises:
        AttributeError: this version of the driver works in another way; nothing is watched.
    """
    from neo4j import AsyncDriver, AsyncSession, Session

    session_class = AsyncSession if isinstance(driver, AsyncDriver) else Session
    missing = [name for name in NEEDED if not hasattr(session_class, name)]
    if missing:
        raise AttributeError(f"{session_class.__name__} has no {', '.join(missing)}")
    if not hasattr(driver, "_session"):
        raise AttributeError(f"{type(driver).__name__} has no _session")
    watched = _watched(session_class)
    pool = driver._pool  # noqa: SLF001 - neo4j 6 has no public way
    watch = _Watch(lent, lost)

    def open_session(config: Any) -> Any:
        lent.look()
        session = watched(pool, config)
        setattr(session, _WATCH, (watch, call_site()))
        return session

    driver._session = open_session  # noqa: SLF001 - see above


class _Watch:
    """Is told by the sessions of a driver what happens to them."""

    def __init__(self, lent: LentConnections, lost: Callable[[CallSite, str], None]) -> None:
        self.lent = lent
        self.lost = lost

    def connected(self, session: Any, opened: CallSite) -> None:
        self.lent.lend(session._connection, opened)  # noqa: SLF001 - see above

    def finalised(self, session: Any, opened: CallSite) -> None:
        if self.lent.is_ours:
            note(_LostSession(self, session, opened).tell)
            self.lent.tell_soon()


class _LostSession:
    """A session that was not closed when it was finalised."""

    def __init__(self, watch: _Watch, session: Any, opened: CallSite) -> None:
        self._watch = watch
        self._opened = opened
        self._session = weakref.ref(session)
        self._connection = session._connection  # noqa: SLF001 - see above
        self._lending = watch.lent.lending(self._connection)

    def tell(self) -> bool:
        session = self._session()
        if session is not None:  # another finaliser still has it, and may close it
            return bool(session.closed())
        outcome = ""
        if self._lending is not None:
            if self._watch.lent.lending(self._connection) is not self._lending:
                return True  # another finaliser closed it
            given_back = self._watch.lent.give_back(self._connection)
            if given_back == "not here":
                return False
            outcome = _OUTCOMES[given_back]
        self._watch.lost(self._opened, outcome)
        return True


@functools.cache
def _watched(session_class: Any) -> Any:
    """The same class, whose sessions tell what happens to them."""

    def finalise(self: Any, _is_ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if not self.closed() and not _is_ending():
            watch, opened = getattr(self, _WATCH)
            watch.finalised(self, opened)
        session_class.__del__(self)

    def connect(self: Any, *args: Any, **kwargs: Any) -> None:
        session_class._connect(self, *args, **kwargs)  # noqa: SLF001 - see above
        watch, opened = getattr(self, _WATCH)
        watch.connected(self, opened)

    async def connect_async(self: Any, *args: Any, **kwargs: Any) -> None:
        await session_class._connect(self, *args, **kwargs)  # noqa: SLF001 - see above
        watch, opened = getattr(self, _WATCH)
        watch.connected(self, opened)

    is_async = inspect.iscoroutinefunction(session_class._connect)  # noqa: SLF001 - see above
    methods = {"__del__": finalise, "_connect": connect_async if is_async else connect}
    return type(session_class.__name__, (session_class,), {"__module__": session_class.__module__, **methods})
