"""`wiring.testing` as a user's own tests have it: in a project of their own, run by a pytest of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from celery import Celery

from tests import PROJECT
from tests.support.pages import write_programs
from tests.support.servers import Server
from wiring.testing.brokers import BrokerServer
from wiring.testing.celery_worker import StartCeleryWorker
from wiring.testing.waiting import until

CONFIG = """
neo4j:
  uri: ${NEO4J_URI:bolt://localhost:7687}
  password: ${NEO4J_PASSWORD}
lightrag:
  workspace: ${LIGHTRAG_WORKSPACE:default}
  working_dir: ${LIGHTRAG_WORKING_DIR:.lightrag/rag}
celery:
  broker_url: ${CELERY_BROKER_URL:filesystem://}
  result_backend: ${CELERY_RESULT_BACKEND:}
  data_dir: ${CELERY_DATA_DIR:.lightrag/celery}
metrics:
  data_dir: ${METRICS_DATA_DIR:.lightrag/metrics}
"""


class Project:
    """A user's project in a folder."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.folder = pytester.path
        (self.folder / "config.yaml").write_text(CONFIG)
        (self.folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\npythonpath = ['.']\n")

    def test(self, body: str | None = None, *arguments: str) -> pytest.RunResult:
        if body is not None:
            (self.folder / "test_it.py").write_text(body)
        return self._pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=120)


@pytest.fixture
def project(pytester: pytest.Pytester, neo4j_server: Server, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name, value in neo4j_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("APP_CONTAINER_CONFIG")
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        monkeypatch.delenv(name)
    return Project(pytester)


def test_what_the_page_shows(project: Project, neo4j_server: Server) -> None:
    write_programs((PROJECT / "README.md").read_text(), project.folder)
    (project.folder / "test_my_worker.py").unlink()
    write_programs((PROJECT / "docs" / "testing.md").read_text(), project.folder)
    result = project.test()
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines([f"neo4j: NEO4J_URI={neo4j_server.uri}"])
    neo4j_server.until_no_connection_is_left()


def test_a_connection_that_is_left_fails_the_test_that_left_it(project: Project) -> None:
    result = project.test(
        """
from app_container import create_container

kept = []

def test_that_leaves_one(container):
    kept.append(create_container())
    kept[0].sync_driver().verify_connectivity()

def test_that_leaves_none(container):
    container.sync_driver().verify_connectivity()
"""
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_that_leaves_one*",
            "*ConnectionsLeftError: 1 connections to Neo4j were left open: *",
        ]
    )
    assert "lightrag-neo4j-wiring/" in result.stdout.str()


def test_each_test_has_a_workspace_that_is_removed(project: Project) -> None:
    result = project.test(
        """
import pytest

seen = []

@pytest.mark.parametrize("text", ["Here Ada met Bob.", "Here Ada met Eve."])
def test_of_a_document(container, neo4j_server, workspace, text):
    container.worker_loop().run(container.documents().insert(text), timeout=60)
    assert neo4j_server.query(f"MATCH (n:`{workspace}`) RETURN count(n) AS nodes")[0]["nodes"] > 1
    seen.append(workspace)

def test_after_them(neo4j_server):
    assert len(set(seen)) == 2
    for workspace in seen:
        assert neo4j_server.query(f"MATCH (n:`{workspace}`) RETURN n") == []
        assert workspace not in str(neo4j_server.query("SHOW INDEXES YIELD labelsOrTypes"))
"""
    )
    result.assert_outcomes(passed=3)


def test_a_configuration_that_names_another_server_is_refused(project: Project) -> None:
    (project.folder / "config.yaml").write_text("neo4j: {uri: 'bolt://production:7687', password: secret}\n")
    result = project.test(
        """
def test_in_process(container):
    raise AssertionError("it was run")

def test_of_a_worker(celery_worker_process):
    celery_worker_process()
"""
    )
    result.assert_outcomes(errors=1, failed=1)
    line = "*the configuration sets neo4j.uri to 'bolt://production:7687', so tests would use that; write *"
    result.stdout.fnmatch_lines([line, line])


def test_the_log_of_a_worker_is_shown_when_a_test_fails(project: Project) -> None:
    (project.folder / "broken_worker.py").write_text("raise SystemExit('no such luck')\n")
    result = project.test(
        """
def test_that_fails(celery_worker_process):
    celery_worker_process("wiring.celery_app", "--concurrency=1")
    assert 1 == 2

def test_of_a_worker_that_does_not_start(celery_worker_process):
    celery_worker_process("broken_worker")
"""
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*- log of worker 1 -*", "*celery@*ready*"])
    result.stdout.fnmatch_lines(["*WorkerEndedError: the worker ended with *", "*no such luck*"])


def test_several_processes_share_a_given_server(project: Project) -> None:
    body = """
import time
import pytest

@pytest.mark.parametrize("number", range(4))
def test_of_a_connection(container, number):
    container.sync_driver().verify_connectivity()
    time.sleep(0.5)
"""
    project.test(body, "-n2").assert_outcomes(passed=4)


def test_a_worker_on_rabbitmq(
    celery_worker_process: StartCeleryWorker, rabbitmq_server: BrokerServer, neo4j_server: Server, workspace: str
) -> None:
    celery_worker_process("wiring.celery_app", "--concurrency=1", CELERY_BROKER_URL=rabbitmq_server.url)
    with Celery(broker=rabbitmq_server.url) as app:
        app.send_task("lightrag.insert_document", ["Our team runs Celery with RabbitMQ."])
    until(lambda: neo4j_server.query(f"MATCH (n:`{workspace}`) RETURN n LIMIT 1"), told=rabbitmq_server.server.log)


def test_the_password_of_a_given_server_is_read_as_that_of_the_configuration(
    project: Project, neo4j_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = """
def test_of_a_connection(container):
    container.sync_driver().verify_connectivity()
"""
    file = tmp_path / "password"
    monkeypatch.delenv("NEO4J_PASSWORD")
    monkeypatch.setenv("NEO4J_PASSWORD_FILE", str(file))
    result = project.test(body)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*$NEO4J_PASSWORD_FILE names '{file}', which does not exist; create it, *"])
    file.write_text(neo4j_server.password)
    project.test(body).assert_outcomes(passed=1)


def test_who_asks_for_nothing_starts_and_imports_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_URI", "bolt://127.0.0.1:9")
    monkeypatch.delenv("NEO4J_PASSWORD")
    monkeypatch.setenv("NEO4J_PASSWORD_FILE", "/nowhere")
    body = """
import sys

def test_of_theirs():
    assert not sys.modules.keys() & {"app_container", "neo4j", "celery", "testcontainers"}
"""
    project.test(body).assert_outcomes(passed=1)
