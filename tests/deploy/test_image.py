"""The image by itself: who it runs as, what it runs, how it ends, and what it shows. Its Neo4j is the stack's."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from tests import PROJECT
from tests.deploy.docker_command import docker, inspect, logs, running, until_healthy, visible
from tests.deploy.stack import Stack
from wiring.testing.waiting import until

CONFIG = "/etc/lightrag-neo4j/config.yaml"


@pytest.fixture
def options(stack: Stack) -> tuple[str, ...]:
    """A container beside the stack's Neo4j, with the image's own configuration."""
    stack.up("neo4j")
    return (
        "--network", stack.network,
        "--env", "NEO4J_URI=bolt://neo4j:7687",
        "--env", f"LIGHTRAG_WORKSPACE=image-{uuid.uuid4().hex[:8]}",  # its files are in one container only
        "--env", "NEO4J_PASSWORD_FILE=/run/secrets/neo4j_password",
        "--volume", f"{stack.secrets / 'neo4j.txt'}:/run/secrets/neo4j_password:ro",
        "--health-interval", "3s",
    )  # fmt: skip


def test_it_runs_as_a_user_who_may_not_change_the_code(stack: Stack) -> None:
    script = "id -u; touch /data/file; test ! -w /opt/venv/bin/celery; test ! -w /etc/lightrag-neo4j"
    assert docker("run", "--rm", stack.image, "sh", "-ec", script).strip() == "10001"


def test_its_version_is_that_of_the_project(stack: Stack) -> None:
    label = inspect(stack.image)["Config"]["Labels"]["org.opencontainers.image.version"]
    assert (
        docker("run", "--rm", stack.image, "lightrag-neo4j", "--version").strip() == label == stack.variables["VERSION"]
    )


def test_it_runs_the_command(stack: Stack, options: tuple[str, ...]) -> None:
    found = json.loads(docker("run", "--rm", *options, stack.image, "lightrag-neo4j", "check", "--json"))
    assert found["config"] == CONFIG
    assert found["server"].startswith("Neo4j/")


def test_the_worker_finishes_its_document_before_it_stops(
    stack: Stack, options: tuple[str, ...], tmp_path: Path
) -> None:
    config, document = tmp_path / "config.yaml", tmp_path / "document.md"
    config.write_text(
        (PROJECT / "config.yaml").read_text().replace("wiring.lightrag.offline.complete", "slow_model.complete")
    )
    document.write_text("Alice met Bob in Berlin.")
    mounts = [
        (config, CONFIG),
        (Path(__file__).with_name("slow_model.py"), "/models/slow_model.py"),
        (document, "/document.md"),
    ]
    for source, target in mounts:
        options += ("--volume", f"{source}:{target}:ro")
    with running(stack.image, options=(*options, "--env", "PYTHONPATH=/models")) as worker:
        until_healthy(worker)
        docker("exec", "--detach", worker, "lightrag-neo4j", "insert", "/document.md")
        until(lambda: "the model begins" in logs(worker), told=lambda: logs(worker)[-3000:])
        docker("stop", "--time", "60", worker, timeout=90)
        assert inspect(worker)["State"]["ExitCode"] == 0
        assert "lightrag.insert_document" in (log := logs(worker))
        assert "succeeded in" in log


def test_no_password_is_shown(stack: Stack, options: tuple[str, ...]) -> None:
    with running(stack.image, options=options) as worker:
        until_healthy(worker)
        shown = visible(worker)
    assert [what for what, text in shown.items() for password in stack.passwords if password in text] == []
