"""The fixtures: a real Neo4j, a workspace and a container of the test's own, brokers, and workers.

Every run of pytest imports this, also one that asks for none of it. So they import what they need themselves.
"""

from __future__ import annotations

import itertools
import os
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from wiring.testing.celery_worker import CeleryWorkerProcess, StartCeleryWorker
from wiring.testing.logs import shown_on_failure
from wiring.testing.neo4j_server import Neo4jServer
from wiring.testing.server_choice import ServerChoice

if TYPE_CHECKING:
    from app_container import Container
    from app_container.settings import Settings
    from wiring.testing.brokers import BrokerServer


class Environment(dict[str, str]):
    """Variables, of which pytest shows no values when a test fails."""

    def __repr__(self) -> str:
        return f"<{', '.join(self)}>"


CHOICE: pytest.StashKey[ServerChoice] = pytest.StashKey()


@pytest.fixture(scope="session")
def neo4j_server(pytestconfig: pytest.Config) -> Iterator[Neo4jServer]:
    """A real Neo4j, for all tests of this process. None is an error, never a skip."""
    with pytestconfig.stash[CHOICE].run() as server, shown_on_failure(pytestconfig, "Neo4j", server.log):
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    """A RabbitMQ for all tests of this process; its ``url`` is for ``CELERY_BROKER_URL``."""
    from wiring.testing.brokers import rabbitmq

    server = rabbitmq(tmp_path_factory.mktemp("rabbitmq"))
    with server.running(), shown_on_failure(pytestconfig, "RabbitMQ", server.server.log):
        yield server


@pytest.fixture(scope="session")
def redis_server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    """A Redis for all tests of this process; its ``url`` is for ``CELERY_BROKER_URL`` or ``REDIS_URI``."""
    from wiring.testing.brokers import redis

    server = redis(tmp_path_factory.mktemp("redis"))
    with server.running(), shown_on_failure(pytestconfig, "Redis", server.server.log):
        yield server


@pytest.fixture
def _every_connection_is_closed(neo4j_server: Neo4jServer, pytestconfig: pytest.Config) -> Iterator[None]:
    if pytestconfig.stash[CHOICE].is_shared:  # then the connections of other processes come and go
        yield
        return
    before = neo4j_server.our_connections()
    yield
    neo4j_server.until_no_connection_is_left(besides=before)


@pytest.fixture
def workspace(neo4j_server: Neo4jServer, _every_connection_is_closed: None) -> Iterator[str]:
    """The name of a LightRAG workspace that nothing else uses. Its graph is removed after the test.

    When all should be closed that the test opened, the server is asked; a connection that is left fails the test.
    """
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    neo4j_server.forget_workspace(name)


@pytest.fixture
def neo4j_environment(
    neo4j_server: Neo4jServer, workspace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Variables that tell ``config.yaml`` of the test's server, workspace and folders; set, and returned."""
    environment = Environment(
        neo4j_server.environment,
        LIGHTRAG_WORKSPACE=workspace,
        LIGHTRAG_WORKING_DIR=str(tmp_path / "rag"),
        CELERY_DATA_DIR=str(tmp_path / "celery"),
        METRICS_DATA_DIR=str(tmp_path / "metrics"),
    )
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    return environment


@pytest.fixture
def wired_modules() -> Sequence[str | ModuleType]:
    """The modules that ``container`` is wired to: none. Override this fixture with the names of yours."""
    return ()


@pytest.fixture
def container(neo4j_environment: dict[str, str], wired_modules: Sequence[str | ModuleType]) -> Iterator[Container]:
    """The container, on the test's server and workspace, wired to ``wired_modules``; its providers can be overridden.

    After the test, what it opened is closed.
    """
    from app_container import create_container

    container = create_container(wire=wired_modules)
    _refuse_another_server(container.settings(), neo4j_environment)
    yield container
    container.shutdown_resources()
    container.unwire()
    forget_shared_state()


def forget_shared_state() -> None:
    """LightRAG's locks are of the process and bind to the first loop that waits for one; the next test has another."""
    if "lightrag.kg.shared_storage" in sys.modules:
        from lightrag.kg.shared_storage import finalize_share_data

        finalize_share_data()


def _refuse_another_server(settings: Settings, environment: Mapping[str, str]) -> None:
    """Fail the test if the configuration does not heed the environment, before another server is changed."""
    __tracebackhide__ = True
    found = {
        "NEO4J_URI": ("neo4j.uri", settings.neo4j.uri),
        "LIGHTRAG_WORKSPACE": ("lightrag.workspace", settings.lightrag.workspace),
    }
    for name, (key, value) in found.items():
        if value != environment[name]:
            pytest.fail(
                f"the configuration sets {key} to {value!r}, so tests would use that; write ${{{name}:{value}}}"
            )


@pytest.fixture
def celery_worker_process(
    neo4j_environment: dict[str, str], tmp_path: Path, pytestconfig: pytest.Config
) -> Iterator[StartCeleryWorker]:
    """Starts real Celery workers on the test's server and workspace, and ends those that still run after the test.

    Called with an app, options of ``celery worker`` and variables, e.g. ``celery_worker_process("my_worker",
    "--concurrency=2", CELERY_BROKER_URL=redis_server.url)``. Without an app it is the ready worker.
    """
    from app_container.settings import load_settings

    numbers = itertools.count(1)
    with ExitStack() as started:

        def start(app: str = "wiring.celery_app", *arguments: str, **environment: str) -> CeleryWorkerProcess:
            name = f"worker {next(numbers)}"
            environment = Environment(neo4j_environment | environment)
            _refuse_another_server(load_settings(environ=os.environ | environment), environment)
            worker = CeleryWorkerProcess(tmp_path / f"{name}.log", environment, app, arguments)
            started.callback(worker.kill)
            started.enter_context(shown_on_failure(pytestconfig, name, worker.end_of_log))
            worker.until_ready()
            return worker

        yield start


def remember_choice(config: pytest.Config) -> None:
    """Choose the server before any test changes the environment."""
    config.stash[CHOICE] = ServerChoice(dict(os.environ), config.rootpath)
