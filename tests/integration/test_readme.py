"""What README.md and the pages beside it show is run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import PROJECT
from tests.support.pages import write_programs
from tests.support.servers import Server

README = (PROJECT / "README.md").read_text()
CELERY = (PROJECT / "docs" / "celery.md").read_text()


@pytest.fixture(autouse=True)
def _written_down(neo4j_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with the README's files, and only what it says one needs."""
    write_programs(README + CELERY, Path())
    (yaml,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    Path("config.yaml").write_text(yaml)
    monkeypatch.delenv("APP_CONTAINER_CONFIG")
    monkeypatch.setenv("NEO4J_URI", neo4j_server.uri)
    monkeypatch.setenv("NEO4J_PASSWORD", neo4j_server.password)
    yield
    neo4j_server.forget_workspace("my_rag")
    neo4j_server.query("MATCH (p:Person) DELETE p")


def run(*arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_your_own_lightrag_code(neo4j_server: Server) -> None:
    assert "Our team runs Celery with Redis." in run("my_rag.py")
    neo4j_server.until_no_connection_is_left()


def test_your_own_worker(neo4j_server: Server) -> None:
    script = """
from my_worker import add_person, app, container, count_people
app.conf.task_always_eager = True
for name in ("Ada", "Bob", "Ada"):
    add_person.delay(name).get()
print(count_people.delay().get())
"""
    assert run("-c", script) == "2\n"
    neo4j_server.until_no_connection_is_left()


def test_your_own_reliable_task(neo4j_server: Server) -> None:
    script = """
from my_tasks import add_person, app
app.conf.task_always_eager = True
add_person.delay("Ada").get()
print(add_person.max_retries, add_person.acks_late)
"""
    assert run("-c", script) == "20 True\n"
    assert neo4j_server.query("MATCH (p:Person) RETURN p.name AS name") == [{"name": "Ada"}]
    neo4j_server.until_no_connection_is_left()


def test_your_own_test() -> None:
    assert "1 passed" in run("-m", "pytest", "-q", "test_my_worker.py")


def test_the_targets_it_names_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^ {4}|`)make ([a-z-]+)", README, re.MULTILINE)) <= targets


def test_the_layout_in_the_architecture_is_the_one_there_is() -> None:
    text = (PROJECT / "docs" / "architecture.md").read_text()
    files = {path.name for package in ("app_container", "wiring") for path in (PROJECT / package).rglob("*.py")}
    assert files - {"__init__.py"} == set(re.findall(r"\b(\w+\.py)\b", text.partition("## Who lives")[0]))
