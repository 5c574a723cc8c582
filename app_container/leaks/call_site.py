"""Where in the application a call came from, found so cheaply that every session can be asked.

Looked for is the innermost frame that is neither ours, nor the driver's, nor of the machinery between them and the
application. Where only ours are left, as in a coroutine of ``wiring`` on the worker loop, it is the innermost of those.
"""

from __future__ import annotations

import logging
import sys
import time
from types import FrameType

_BETWEEN = frozenset({"app_container", "neo4j", "dependency_injector"}) | sys.stdlib_module_names
_OURS = "wiring"

_passed: dict[str, bool] = {}
"""Files whose frames are passed over, and whether they are ours; a handful."""

_log = logging.getLogger("app_container")


class CallSite:
    """A place in the application, and the time it was passed.

    The whole stack is part of it when the logger ``app_container`` is enabled for DEBUG at that time.
    """

    __slots__ = ("_file", "_function", "_line", "_passed_at", "_stack")

    def __init__(self, frame: FrameType, stack: list[str]) -> None:
        self._passed_at = time.monotonic()
        self._file = frame.f_code.co_filename
        self._line = frame.f_lineno
        self._function = frame.f_code.co_qualname
        self._stack = stack

    @property
    def place(self) -> str:
        """File, line and function."""
        return f"{self._file}:{self._line} in {self._function}"

    def __str__(self) -> str:
        stack = f" (the whole stack: {' < '.join(self._stack)})" if self._stack else ""
        return f"at {self.place}, {time.monotonic() - self._passed_at:.1f} s ago{stack}"


def call_site() -> CallSite:
    """Where the application called what calls this."""
    caller = sys._getframe(1)  # noqa: SLF001 - inspect's way makes a list of all frames, and reads their source
    frame: FrameType | None = caller
    ours: FrameType | None = None
    while frame is not None:
        is_ours = _passed.get(frame.f_code.co_filename)
        if is_ours is None:
            package = str(frame.f_globals.get("__name__")).partition(".")[0]
            if package not in _BETWEEN and package != _OURS:
                break
            is_ours = _passed[frame.f_code.co_filename] = package == _OURS
        if is_ours and ours is None:
            ours = frame
        frame = frame.f_back
    return CallSite(frame or ours or caller, _whole_stack(caller) if _log.isEnabledFor(logging.DEBUG) else [])


def _whole_stack(frame: FrameType | None) -> list[str]:
    stack = []
    while frame is not None:
        stack.append(f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}")
        frame = frame.f_back
    return stack
