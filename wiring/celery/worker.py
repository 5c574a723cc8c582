"""``setup``: what a worker checks before it starts, and what its processes open and close.

A driver must not cross a fork, so nothing is opened before it: the parent checks configuration and server with a driver
of its own, closes that, and every child opens its driver with its first task. A child that is spawned imports the
application's module, and so has a container of its own.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import logging
import multiprocessing
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from billiard.common import TERM_SIGNAL
from celery import Celery, signals

from app_container import AppContainerError, Container
from app_container.errors import WorkerLoopError
from app_container.injection import check_wired
from app_container.pools.pool_budget import PoolBudget
from app_container.server_settings import check_server
from wiring.celery import inspect  # noqa: F401 - the command is known to workers from now on
from wiring.celery.log import set_up_log
from wiring.celery.pools import Pool, pool_of
from wiring.celery.tasks import CONTAINER
from wiring.json_lines import refuse
from wiring.lightrag.working_dir import file_based
from wiring.metrics.main_process import MainProcess, end_publishing, publish

if TYPE_CHECKING:
    from app_container.settings import Neo4jSettings, Settings

_log = logging.getLogger("wiring.celery")


def setup(app: Celery, container: Container, *, lightrag: bool = False, check_server: bool = True) -> None:
    """Give ``app``'s workers the container, with the right lifetimes in every pool.

    At start the worker checks its pool, the configuration, the wiring and the server, and ends with one line when one
    of them is wrong. Every child process has its own driver, worker loop and LightRAG, made on first use; they are
    closed when it stops.

    Args:
        app: the application whose worker this process is, or whose tasks it calls.
        container: what its tasks receive.
        lightrag: whether LightRAG is what the worker is for. Then it is checked at start, too, and its working
            directory taken, which otherwise happens with the first task that uses it.
        check_server: whether the worker refuses to start without the server. Else it starts without asking for it,
            and tasks fail until it is there, or are tried again if they are ``ReliableTask``.
    """
    set_up_log(app, container)
    if container.settings().opentelemetry.enabled:
        from wiring.opentelemetry.tasks import trace_tasks

        trace_tasks()
    app.add_defaults(lambda: {CONTAINER: container})  # unlike changes, not sent to spawned children: it cannot be
    uid = f"lightrag-neo4j-{id(container)}"
    # A spawned child imports the modules of the tasks; the caller's is the one without which they have no container.
    module = sys._getframe(1).f_globals["__name__"]  # noqa: SLF001 - there is no other way to a caller
    metrics = MainProcess(container)
    before_fork = _BeforeFork(app, container, metrics, lightrag, check_server, module)
    signals.worker_init.connect(before_fork, weak=False, dispatch_uid=uid)
    begin_child = functools.partial(_begin_child, container)
    signals.worker_process_init.connect(begin_child, weak=False, dispatch_uid=uid)
    ready = functools.partial(_ready, metrics)
    signals.worker_ready.connect(ready, weak=False, dispatch_uid=uid)
    close = functools.partial(_close, container, metrics)
    close_child = functools.partial(_close_child, container)
    signals.worker_process_shutdown.connect(close_child, weak=False, dispatch_uid=uid)
    signals.worker_shutdown.connect(close, weak=False, dispatch_uid=uid)
    atexit.register(close)  # the only one that runs in a cold shutdown of the solo and threads pools


@dataclass(frozen=True, slots=True)
class _BeforeFork:
    """Checks everything in the parent, and sets up what its children share."""

    app: Celery
    container: Container
    metrics: MainProcess
    lightrag: bool
    check_server: bool
    module: str

    def __call__(self, sender: Any = None, **_: Any) -> None:
        if sender.app != self.app:
            return
        try:
            said = self._prepare(sender)
        except AppContainerError as error:
            refuse(error, _log)
        except Exception as error:  # Celery would log it, and start the worker
            _log.exception("the worker cannot start")
            raise SystemExit(1) from error
        _log.info("%s; a driver is opened by each process with its first task", said)

    def _prepare(self, worker: Any) -> str:
        settings = self.container.settings()
        pool = pool_of(worker)
        if self.lightrag:
            pool.refuse_apart(file_based(settings.lightrag))
        if pool.spawns and self.module != "__main__":  # which they import anyway
            self.app.conf.include = {*self.app.conf.include, self.module}
        self.metrics.prepare(worker.hostname)
        check_wired(self.container, also=[task.run for task in self.app.tasks.values()])
        said = f"did not look for Neo4j at {settings.neo4j.uri}"
        if self.check_server:
            said = f"connected to {_check_server(settings.neo4j, pool)} at {settings.neo4j.uri}"
        if self.lightrag or importlib.util.find_spec("lightrag") is not None:
            self._prepare_lightrag(settings, pool)
        return said

    def _prepare_lightrag(self, settings: Settings, pool: Pool) -> None:
        from wiring.lightrag import processes

        if self.lightrag and self.check_server:
            processes.prepare_graph(settings)  # before share, which forks
        processes.share(settings.lightrag, pool.forked)
        if self.lightrag:
            processes.prepare(settings.lightrag, keep=not pool.spawns)


def _check_server(settings: Neo4jSettings, pool: Pool) -> str:
    """The server's name and version; warns if the pools of this worker alone can be too much for it."""
    server, its_settings = check_server(settings)
    budget = PoolBudget(pool.processes, settings.max_connection_pool_size, its_settings.threads)
    if budget.warning:
        _log.warning("%s", budget.warning)
    return server


def _begin_child(container: Container, **_: Any) -> None:
    """Let a child tell what it counts, and a forked one talk to the parent's shared state."""
    publish(container)
    # billiard gives its children another key than the parent's
    parent = sys.modules.get("wiring.lightrag.processes")
    if parent is not None and parent.shared_key is not None:
        multiprocessing.current_process().authkey = parent.shared_key


def _ready(metrics: MainProcess, **_: Any) -> None:
    """Collect the figures of all processes; after the fork, for it takes threads."""
    try:
        metrics.start()
    except AppContainerError as error:
        _log.error("%s", error)


def _close_child(container: Container, **_: Any) -> None:
    """Close in a child that ends, undisturbed.

    It was told to end by a signal that it now takes in the default way. The next one, which Celery sends at once, would
    kill it while it closes.
    """
    before = signal.signal(TERM_SIGNAL, signal.SIG_IGN)
    _close(container)
    end_publishing()
    if before != signal.SIG_DFL:  # else it stays ignored; the child ends by itself, a second after this
        signal.signal(TERM_SIGNAL, before)


def _close(container: Container, metrics: MainProcess | None = None, **_: Any) -> None:
    """Close what this process opened; harmless when it opened nothing, or twice."""
    try:
        container.shutdown_resources()
    except WorkerLoopError as error:
        _log.warning("while closing: %s", error)
    if metrics is not None:
        metrics.close()
