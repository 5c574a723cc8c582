"""What a worker's main process does for metrics: it gives its processes a folder, adds up, and hands on."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app_container.errors import AppContainerError, describe

if TYPE_CHECKING:  # prometheus_client takes 0.05 s to import; who only sends tasks needs none of it
    from app_container import Container
    from wiring.metrics.publisher import Publisher

FOLDER = "LIGHTRAG_NEO4J_METRICS_FOLDER"
"""The environment variable by which a worker's processes, forked or not, know their folder."""

_log = logging.getLogger("wiring.metrics")


class MainProcess:
    """The metrics of a worker, seen from its main process. Its children call ``publish``.

    Args:
        container: its settings say where figures go.
    """

    def __init__(self, container: Container) -> None:
        self._container = container
        self._ends: contextlib.ExitStack | None = None
        self._pid = 0

    def prepare(self, name: str) -> None:
        """Before the worker starts: make the folder, and see that the port is free. Starts nothing.

        Args:
            name: what the worker is called, by the framework it belongs to.

        Raises:
            AppContainerError: figures are asked for, and cannot be given. Where nobody asks, it is only logged.
        """
        # Imported before the fork, all this is in memory once.
        from wiring.metrics.prometheus import check_port
        from wiring.metrics.worker import new_folder

        settings = self._container.settings().metrics
        if settings.port is not None:
            check_port(settings.host, settings.port)
        try:
            os.environ[FOLDER] = str(new_folder(settings.data_dir, name))
        except OSError as error:
            message = (
                f"figures cannot be stored in {settings.data_dir.absolute()}: {describe(error)}; set METRICS_DATA_DIR"
            )
            if settings.port is not None or settings.pushgateway_url is not None:
                raise AppContainerError(message) from None
            _log.warning(message)

    def start(self) -> None:
        """When the worker has started: collect, and hand on."""
        if self._ends is not None or FOLDER not in os.environ:
            return
        from wiring.metrics.prometheus import Pushing, serve
        from wiring.metrics.worker import WorkerFigures, worker_name

        settings = self._container.settings().metrics
        folder = Path(os.environ[FOLDER])
        figures = WorkerFigures(folder)
        with contextlib.ExitStack() as ends:
            ends.callback(shutil.rmtree, folder, ignore_errors=True)
            if settings.port is not None:
                ends.callback(serve(figures, settings.host, settings.port))
                _log.info("Prometheus can fetch figures at http://%s:%d/metrics", settings.host, settings.port)
            if settings.pushgateway_url is not None:
                pushing = Pushing(figures, settings.pushgateway_url, worker_name(folder), settings.push_interval)
                ends.callback(pushing.close)
            publish(self._container, also=figures.fold)
            ends.callback(end_publishing)
            self._ends, self._pid = ends.pop_all(), os.getpid()

    def close(self) -> None:
        """When the worker has ended: hand on for the last time, and remove the folder."""
        ends, self._ends = self._ends, None
        if ends is not None and self._pid == os.getpid():  # a child that was forked later has none of the threads
            ends.close()


_publisher: Publisher | None = None


def publish(container: Container, also: Callable[[], None] | None = None) -> None:
    """Write the figures of this process for its worker's main process, from now on; nothing where there is none.

    Args:
        container: whose figures they are.
        also: called once a second as well.
    """
    global _publisher  # noqa: PLW0603 - it is of the process, as the environment is
    if (folder := os.environ.get(FOLDER)) and not _is_publishing():
        from wiring.metrics.publisher import Publisher

        _publisher = Publisher(container.metrics, Path(folder), also)


def publish_until_exit(container: Container) -> None:
    """The same in a process that nobody tells when it ends; then it closes what it has open, and writes once more."""
    if FOLDER in os.environ and not _is_publishing():
        publish(container)
        atexit.register(_close, container)


def _close(container: Container) -> None:
    with contextlib.suppress(AppContainerError):
        container.shutdown_resources()
    end_publishing()


def end_publishing() -> None:
    """Write them for the last time, after what the process had open is closed."""
    if _publisher is not None and _is_publishing():
        _publisher.close()


def _is_publishing() -> bool:
    return _publisher is not None and _publisher.pid == os.getpid()
