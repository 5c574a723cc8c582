"""A server of the tests' own, which they may kill, stop and start again. It keeps its data and its port."""

from __future__ import annotations

import socket
from typing import Protocol


class OwnServer(Protocol):
    """What tests do to it."""

    def start(self) -> None:
        """Start it, for the first time or again; returns before it answers."""

    def kill(self) -> None:
        """End it at once."""

    def end(self) -> None:
        """Ask it to end, and wait."""

    def stop(self) -> None:
        """Let it do nothing at all, without closing anything."""

    def go_on(self) -> None:
        """Let it work again."""

    def log(self) -> str:
        """The last of what it wrote."""

    def close(self) -> None:
        """End it for good."""


def free_port() -> int:
    """A port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
