"""What a worker's pool means for what its processes share; and the pools that cannot work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import billiard
from celery.concurrency import get_implementation

from app_container.errors import AppContainerError


class PoolError(AppContainerError):
    """This pool would lose or confuse something."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A worker's pool, as it is going to be: nothing of it has started yet.

    Args:
        children: how many processes it may start at most; 0 where tasks run in the worker's own process.
        spawns: whether the children are new interpreters, which inherit nothing. Else they are forked.
    """

    children: int
    spawns: bool

    @property
    def processes(self) -> int:
        """How many processes run tasks."""
        return self.children or 1

    @property
    def forked(self) -> int:
        """How many of its children inherit what their parent has."""
        return 0 if self.spawns else self.children

    def refuse_apart(self, file_based: list[str]) -> None:
        """Refuse several children that cannot share what LightRAG keeps in files.

        Args:
            file_based: the storages that are files.

        Raises:
            PoolError: there would be some.
        """
        if file_based and self.spawns and self.children > 1:
            raise PoolError(
                f"{self.children} spawned children share nothing, and {', '.join(file_based)} in each would lose what "
                "the others write; set worker_pool_start_method to 'fork', or use --pool threads, or --concurrency 1, "
                "or storages that are servers"
            )


def pool_of(worker: Any) -> Pool:
    """The pool of a worker that is about to start.

    Raises:
        PoolError: its tasks run as greenlets, or Celery would break it.
    """
    from celery.concurrency.prefork import TaskPool

    pool = get_implementation(worker.pool_cls)
    if getattr(pool, "is_green", False):
        # asyncio keeps the running loop by thread, and to it all greenlets are one thread.
        raise PoolError(
            f"--pool {pool.__module__.rpartition('.')[2]} cannot be used: its tasks share one thread with the worker "
            "loop, so a plain task would be given that loop's driver; use --pool threads, or prefork"
        )
    if not issubclass(pool, TaskPool):
        return Pool(children=0, spawns=False)
    if worker.options.get("autoscale") and not worker.use_eventloop:
        # Billiard's supervisor, then a thread, takes a child that another thread is just starting for one that ended.
        raise PoolError(
            "--autoscale ends a worker whose broker has no event loop, as soon as a child starts and another ends at "
            "the same time; use --concurrency, or a broker such as redis:// or amqp://"
        )
    method = getattr(worker, "pool_start_method", "fork")  # unknown to Celery before 5.7
    return Pool(_most_children(worker), spawns="spawn" in (method, billiard.get_start_method()))


def _most_children(worker: Any) -> int:
    size = worker.concurrency
    sizes = [size if isinstance(size, int) else billiard.cpu_count()]  # "auto" is not counted yet
    if autoscale := worker.options.get("autoscale"):  # most and least, as text where it was not the command line's
        sizes.append(int(autoscale.partition(",")[0] if isinstance(autoscale, str) else autoscale[0]))
    return max(sizes)
