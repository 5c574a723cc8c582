"""One Prometheus for all tests here; each test's worker is a target of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery

from app_container import create_container
from tests.support.prometheus_server import Prometheus, run_prometheus
from tests.support.workers import StartWorker, WorkerProcess
from wiring.celery.options import make_app

StartMeasured = Callable[..., WorkerProcess]


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with run_prometheus(tmp_path_factory.mktemp("prometheus")) as server:
        yield server


@pytest.fixture
def start_measured(prometheus: Prometheus, start_worker: StartWorker, tmp_path: Path) -> StartMeasured:
    """Starts a worker at which Prometheus looks, as ``instance``; its processes write in the test's folder."""

    def start(instance: str, *arguments: str, **options: str) -> WorkerProcess:
        port = prometheus.watch(instance)
        folder = str(tmp_path / "figures")
        return start_worker(*arguments, METRICS_PORT=str(port), METRICS_DATA_DIR=folder, **options)

    return start


@pytest.fixture
def app(environment: dict[str, str]) -> Iterator[Celery]:  # noqa: ARG001 - it sets the variables
    """Sends tasks to the workers of the test."""
    with make_app(create_container().settings().celery) as app:
        yield app
