"""What is found while garbage is collected waits here until it can be told.

Python collects garbage at any moment, also in a thread that holds a lock. A finaliser that logged, counted or gave a
connection back could wait for itself. So it only notes what it found, and that is told as soon as somebody comes by:
who asks for a connection or gives one back, who collects figures, at the latest the end of the interpreter.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections import deque
from collections.abc import Callable

_found: deque[tuple[int, Callable[[], bool]]] = deque()
_log = logging.getLogger("app_container")


def note(tell: Callable[[], bool]) -> None:
    """Keep it for ``tell_found``. It neither waits nor fails, so finalisers may call it.

    Args:
        tell: tells it; returns whether that is done, or else must be tried again later.
    """
    _found.append((os.getpid(), tell))


@atexit.register
def tell_found() -> None:
    """Tell what was found since somebody came by; nothing of what a parent found before it forked. Never fails."""
    for _ in range(len(_found)):
        try:
            pid, tell = _found.popleft()
        except IndexError:  # another thread came by, too
            return
        try:
            if pid == os.getpid() and not tell():
                _found.append((pid, tell))
        except Exception:  # noqa: BLE001 - whoever comes by has nothing to do with it
            _log.warning("a leak was found and could not be told", exc_info=True)
