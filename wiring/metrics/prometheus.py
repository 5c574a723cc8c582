"""Hands figures to Prometheus: it fetches them at a port, or they are pushed to a Pushgateway."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Callable
from http.client import HTTPException
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, push_to_gateway, start_http_server

from app_container.errors import AppContainerError, describe

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

JOB = "lightrag-neo4j"
"""The label ``job`` of what is pushed."""

PUSH_TIMEOUT = 5.0
"""Seconds a Pushgateway has for an answer."""

_log = logging.getLogger("wiring.metrics")


class MetricsPortError(AppContainerError):
    """The port where Prometheus is to fetch figures cannot be opened."""


def check_port(host: str, port: int) -> None:
    """Find out, before a worker starts, whether the port can be opened.

    Args:
        host: name or address at which it listens.
        port: its number.

    Raises:
        MetricsPortError: it cannot.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        fix = (
            "another worker may have it: set METRICS_PORT to a free one" if taken else "set METRICS_HOST, METRICS_PORT"
        )
        reason = error.strerror or str(error)
        raise MetricsPortError(f"Prometheus cannot be given figures at {host}:{port}: {reason}; {fix}") from None


def serve(figures: Collector, host: str, port: int) -> Callable[[], None]:
    """Let Prometheus fetch the figures at ``http://host:port/metrics``.

    Returns:
        Ends that.

    Raises:
        MetricsPortError: the port cannot be opened.
    """
    check_port(host, port)
    registry = CollectorRegistry()  # it also answers who asks for some figures only
    registry.register(figures)
    server, thread = start_http_server(port, host, registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join(PUSH_TIMEOUT)

    return stop


class Pushing:
    """A thread that pushes the figures to a Pushgateway.

    A gateway that does not answer is logged, once until it answers again.

    Args:
        figures: what is pushed; it replaces what was pushed before.
        url: the gateway.
        instance: the label ``instance``, by which workers are told apart.
        interval: seconds between two pushes.
    """

    def __init__(self, figures: Collector, url: str, instance: str, interval: float) -> None:
        self._figures = figures
        self._url = url
        self._instance = {"instance": instance}
        self._interval = interval
        self._failed = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics-push", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Push for the last time. The gateway keeps it, or what was counted since the last scrape would be lost."""
        if not self._ending.is_set():
            self._ending.set()
            self._thread.join(2 * PUSH_TIMEOUT)
            self._push()

    def _run(self) -> None:
        while not self._ending.wait(self._interval):
            self._push()

    def _push(self) -> None:
        try:
            push_to_gateway(self._url, JOB, self._figures, self._instance, PUSH_TIMEOUT)
            self._failed = False
        except (OSError, ValueError, HTTPException) as error:
            if not self._failed:
                self._failed = True
                _log.warning("the Pushgateway %s takes no figures: %s", self._url, describe(error))
