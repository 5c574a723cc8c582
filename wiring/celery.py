"""Celery: two lines in a worker's entrypoint, and tasks that are coroutines.

    container = create_container(wire=["your_module"])
    setup(app, container)

A driver must not cross a fork, so nothing is opened before it: the parent checks configuration and server with a driver
of its own, closes that, and every child opens its driver with its first task.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import logging
import multiprocessing
import sys
from typing import Any

from celery import Celery, signals

from app_container import AppContainerError, Container
from app_container.drivers import check_connection
from app_container.errors import WorkerLoopError
from app_container.injection import check_wired
from wiring.celery_logging import tell_task_ids
from wiring.celery_tasks import CONTAINER, async_task, container_of

__all__ = ["async_task", "container_of", "setup"]

_log = logging.getLogger("wiring.celery")


def setup(app: Celery, container: Container, *, lightrag: bool = False) -> None:
    """Give ``app``'s workers the container, with the right lifetimes in every pool.

    At start the worker checks the configuration, the server and the wiring, and ends with one line when one of them is
    wrong. Every child process has its own driver, worker loop and LightRAG, made on first use; they are closed when it
    stops.

    Args:
        app: the application whose worker this process is, or whose tasks it calls.
        container: what its tasks receive.
        lightrag: whether LightRAG is what the worker is for. Then it is checked at start, too, and its working
            directory taken, which otherwise happens with the first task that uses it.
    """
    app.conf[CONTAINER] = container
    tell_task_ids()
    uid = f"lightrag-neo4j-{id(container)}"
    before_fork = functools.partial(_before_fork, app, container, lightrag)
    signals.worker_init.connect(before_fork, weak=False, dispatch_uid=uid)
    signals.worker_process_init.connect(_join_shared_state, weak=False, dispatch_uid=uid)
    close = functools.partial(_close, container)
    for signal in (signals.worker_process_shutdown, signals.worker_shutdown):
        signal.connect(close, weak=False, dispatch_uid=uid)
    atexit.register(close)  # the only one that runs in a cold shutdown of the solo, threads and gevent pools


def _before_fork(app: Celery, container: Container, lightrag: bool, sender: Any = None, **_: Any) -> None:  # noqa: FBT001 - bound above
    """Check everything in the parent, and set up what its children share."""
    if sender.app is not app:  # tests may start the workers of several apps in one process
        return
    try:
        settings = container.settings()
        check_wired(container, also=[task.run for task in sender.app.tasks.values()])
        agent = check_connection(settings.neo4j)
        if lightrag or importlib.util.find_spec("lightrag") is not None:
            from wiring.lightrag import processes

            if lightrag:
                processes.prepare_graph(settings)  # before share, which forks
            processes.share(settings.lightrag, _children(sender))
            if lightrag:
                processes.prepare(settings.lightrag)
    except AppContainerError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None
    _log.info(
        "connected to %s at %s; a driver is opened by each process with its first task", agent, settings.neo4j.uri
    )


def _children(worker: Any) -> int:
    """How many processes will be forked; 0 where tasks run in the worker's own process."""
    from celery.concurrency.prefork import TaskPool

    return int(worker.concurrency or 1) if issubclass(worker.pool_cls, TaskPool) else 0


def _join_shared_state(**_: Any) -> None:
    """Let a child talk to the parent's shared state: billiard gives its children another key than the parent's."""
    parent = sys.modules.get("wiring.lightrag.processes")
    if parent is not None and parent.shared_key is not None:
        multiprocessing.current_process().authkey = parent.shared_key


def _close(container: Container, **_: Any) -> None:
    """Close what this process opened; harmless when it opened nothing, or twice."""
    try:
        container.shutdown_resources()
    except WorkerLoopError as error:
        _log.warning("while closing: %s", error)
