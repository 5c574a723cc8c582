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
    """From now on, ``loop.create_connection(sock=...)`` sets TCP_NODELAY on that socket first, and remembers it.

    Only this loop is changed, and only by attributes of its own; calling it again changes nothing.
    """
    if _CONNECTIONS in loop.__dict__:
        return
    create_connection = loop.create_connection
    connections: list[_Connection] = []

    async def watched(*args: Any, sock: socket.socket | None = None, **kwargs: Any) -> Any:
        if sock is not None and sock.type == socket.SOCK_STREAM and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport, protocol = await create_connection(*args, sock=sock, **kwargs)
        if sock is not None:
            connections[:] = [known for known in connections if known.is_open]
            connections.append(_Connection(transport, sock))
        return transport, protocol

    loop.__dict__[_CONNECTIONS] = connections
    loop.create_connection = watched  # type: ignore[method-assign]


async def until_closed() -> None:
    """Wait until the running loop's connections that are being closed are closed. Bounded by ``CLOSE_TIMEOUT``."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            while _closing():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    except TimeoutError:
        for connection in _closing():
            connection.transport.abort()
        await asyncio.sleep(0)  # that is when they are


def _closing() -> list[_Connection]:
    connections = asyncio.get_running_loop().__dict__.get(_CONNECTIONS, [])
    return [connection for connection in connections if connection.is_open and connection.transport.is_closing()]
