"""An async driver says so at once when it is used on an event loop that is not its own.

Its connections belong to the loop that opened them. On another loop the driver fails only where it has to wait: it
hangs, or fails now and then with "attached to a different loop". That happens to a driver that is kept in a global
variable, instead of being asked for where it is used.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app_container.errors import ForeignLoopError

if TYPE_CHECKING:
    from neo4j import AsyncDriver

_COROUTINES = (
    "execute_query", "verify_connectivity", "verify_authentication", "get_server_info", "supports_multi_db",
    "supports_session_auth", "close",
)  # fmt: skip
"""What of the driver leads to a connection, besides its sessions."""


def refuse_foreign_loops(driver: AsyncDriver) -> AsyncDriver:
    """Bind ``driver`` to the running loop: on any other, its methods raise ``ForeignLoopError``.

    Only this driver object is changed, by attributes of its own, so it stays what it is for ``isinstance``. It costs
    less than a microsecond a call, and keeps no loop alive.
    """
    owner = weakref.ref(asyncio.get_running_loop())
    for name in _COROUTINES:
        setattr(driver, name, _coroutine_only_on(owner, getattr(driver, name)))
    driver.session = _session_only_on(owner, driver.session)  # type: ignore[method-assign]
    return driver


def _coroutine_only_on(owner: weakref.ref[asyncio.AbstractEventLoop], method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        # Here, not where the coroutine is made: that may be a plain thread, which hands it to the worker loop.
        if asyncio.get_running_loop() is not owner():
            raise ForeignLoopError(method.__name__)
        return await method(*args, **kwargs)

    return call


def _session_only_on(owner: weakref.ref[asyncio.AbstractEventLoop], method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        loop = None
        with suppress(RuntimeError):
            loop = asyncio.get_running_loop()
        if loop not in (None, owner()):  # where no loop runs, the session may still be used on the right one
            raise ForeignLoopError(method.__name__)
        return method(*args, **kwargs)

    return call
