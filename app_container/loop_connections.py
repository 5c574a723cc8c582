"""What an event loop does for the connections that drivers open on it: send at once, and end before the loop does.

The async driver creates its sockets itself, with ``proto=0``, which asyncio does not take for TCP; so it leaves Nagle's
algorithm on, and the handshake of every new connection waits for a delayed ACK: 44 ms on loopback, measured with
neo4j 6.4 on Python 3.10 to 3.13. The sync driver sets the option itself.

The driver's ``close`` leaves the sockets to be closed in the background (neo4j 6.4, ``AsyncBoltSocket.close``). On a
loop that ends right then, one that speaks TLS is still waiting for the server's last word: it is left open, asyncio
warns of it, and uvloop cannot close the loop.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, NamedTuple

CLOSE_TIMEOUT = 1.0
"""Seconds that closed connections have to say goodbye; then they are cut."""

_CONNECTIONS = "_app_container_connections"


class _Connection(NamedTuple):
    transport: asyncio.WriteTransport
    socket: socket.socket

    @property
    def is_open(self) -> bool:
        return self.socket.fileno() != -1


def watch_connections(loop: asyncio.AbstractEventLoop) -> None:
    """From now on, ``loop.create_connection(sock=...)`` sets TCP_NODELAY on a driver's socket, and remembers it.

    Only this loop is changed, and only by attributes of its own; calling it again changes nothing. What other
    libraries open is left as it is.
    """
    if _CONNECTIONS in loop.__dict__:
        return
    create_connection = loop.create_connection
    connections: list[_Connection] = []

    async def watched(protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        sock: socket.socket | None = kwargs.get("sock")
        if sock is None or not str(getattr(protocol_factory, "__module__", "")).startswith("neo4j."):
            return await create_connection(protocol_factory, *args, **kwargs)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport, protocol = await create_connection(protocol_factory, *args, **kwargs)
        connections[:] = [known for known in connections if known.is_open]
        connections.append(_Connection(transport, sock))
        return transport, protocol

    loop.__dict__[_CONNECTIONS] = connections
    loop.create_connection = watched  # type: ignore[method-assign]


async def until_closed() -> None:
    """Wait until the running loop's connections that are being closed are closed. Bounded by ``CLOSE_TIMEOUT``."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            # Looking again and again, for there is no event for it that is public.
            await asyncio.sleep(0)  # without TLS, that is all it takes
            while any(connection.transport.is_closing() for connection in open_connections(loop)):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    except TimeoutError:
        await _cut([connection for connection in open_connections(loop) if connection.transport.is_closing()])


async def cut_connections() -> None:
    """End all connections of the running loop's drivers at once."""
    await _cut(open_connections(asyncio.get_running_loop()))


def open_connections(loop: asyncio.AbstractEventLoop) -> list[_Connection]:
    """The connections of the loop's drivers that are not closed.

    A driver that is closed while it opens a connection keeps that one open (neo4j 6.4: the pool knows no closed state).
    """
    return [connection for connection in loop.__dict__.get(_CONNECTIONS, []) if connection.is_open]


async def _cut(connections: list[_Connection]) -> None:
    for connection in connections:
        connection.transport.abort()
    await asyncio.sleep(0)  # that is when they are
