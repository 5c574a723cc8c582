"""What ``lightrag-neo4j stats`` shows: the pools of all running workers."""

from __future__ import annotations

import importlib.util

from typing_extensions import TypedDict

from app_container import Container
from wiring.metrics.advice import Advice, advise
from wiring.metrics.report import WorkerReport, report_workers
from wiring.runner import ping


class Stats(TypedDict):
    """The workers, and what follows for the size of their pools."""

    workers: list[WorkerReport]
    advice: list[Advice]


def stats(container: Container) -> Stats:
    """Ask Celery's workers, wherever they are, and look for others in ``metrics.data_dir`` of this machine.

    Raises:
        AppContainerError: the Celery broker does not answer.
    """
    settings = container.settings()
    workers: list[WorkerReport] = []
    if importlib.util.find_spec("celery") is not None:
        from wiring.celery.inspect import ask_workers
        from wiring.celery.options import make_app

        app = make_app(settings.celery)
        workers += ask_workers(app, ping(app))
    answered = {worker["worker"] for worker in workers}
    workers += [each for each in report_workers(settings.metrics.data_dir) if each["worker"] not in answered]
    return Stats(workers=workers, advice=advise(workers))
