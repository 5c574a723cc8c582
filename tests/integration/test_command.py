"""The installed command on a real server."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Literal

import pytest

from tests import PROJECT
from tests.support.models import config_with_model
from tests.support.openai_server import OpenAIServer, config_with_openai
from tests.support.schema import COMMAND
from tests.support.servers import Server
from tests.support.workers import StartWorker


def run(*arguments: str, code: int = 0, what: Literal["stdout", "stderr"] | None = None) -> str:
    """Run the command; returns what it prints: on standard error if it must fail and nothing else is named."""
    done = subprocess.run(
        [COMMAND, *arguments],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done.stderr if (what or ("stderr" if code else "stdout")) == "stderr" else done.stdout


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


@pytest.mark.usefixtures("environment")
def test_check_shows_what_will_be_used(neo4j_server: Server, workspace: str) -> None:
    facts = run_json("check")
    assert facts["uri"] == neo4j_server.uri
    assert facts["server"].startswith("Neo4j/5.")
    assert facts["workspace"] == workspace
    assert facts["max_connection_pool_size"] == 50
    assert "sync driver" in facts["driver"]
    assert neo4j_server.password not in run("check")
    neo4j_server.until_no_connection_is_left()


@pytest.mark.usefixtures("environment")
def test_a_wrong_password_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", "not-the-password")
    line = run("check", code=1)
    assert "refuses user 'neo4j' with the password it was given; set NEO4J_USERNAME and NEO4J_PASSWORD" in line
    assert "not-the-password" not in line
    assert line.count("\n") == 1


@pytest.mark.usefixtures("environment")
def test_insert_and_query_without_a_worker(neo4j_server: Server, workspace: str) -> None:
    line = run("query", "Who uses Redis?", code=1)
    assert line == f"workspace '{workspace}' holds no documents yet; insert some, then ask again\n"

    Path("notes").mkdir()
    Path("notes/a.md").write_text("Our team runs Celery with Redis.")
    Path("notes/empty.md").touch()
    report = run("insert", "notes", code=1)
    assert "notes/empty.md: is empty; there is nothing to insert" in report
    Path("notes/empty.md").write_text("Here Ada met Bob.")
    result = run_json("insert", "notes")
    assert result["failed"] == []
    statuses = {row["file_path"]: row["status"] for row in result["inserted"]}
    assert statuses == {"notes/a.md": "unchanged", "notes/empty.md": "processed"}

    answer = run_json("query", "Who uses Redis?")
    assert "Our team runs Celery with Redis." in answer["answer"]
    assert answer["workspace"] == workspace
    assert run("query", "x", code=2) == "the question 'x' is too short; use 3 characters or more\n"

    # A file that was changed takes the place of what it was when that is deleted, as the message says.
    Path("notes/a.md").write_text("Our team dropped Memcached.")
    line = run("insert", "notes/a.md", code=1)
    (fix,) = re.findall(r"is there with another text; to replace it, delete it first \(lightrag-neo4j (.*)\)", line)
    assert run(*shlex.split(fix)) == "1 deleted\n"
    assert run_json("insert", "notes/a.md")["inserted"][0]["status"] == "processed"
    assert "Memcached" in run("query", "Who uses Memcached?")
    assert f"workspace '{workspace}' has no document 'nothing'" in run("delete", "nothing", code=1)
    neo4j_server.until_no_connection_is_left()


@pytest.mark.usefixtures("environment")
def test_files_that_do_not_fit_the_settings_are_one_line(
    environment: dict[str, str], workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.md").write_text("Our team runs Celery with Redis.")
    run("insert", "a.md")
    Path("own.yaml").write_text(Path(os.environ["APP_CONTAINER_CONFIG"]).read_text().replace("256", "128"))
    for command in (["query", "Who uses Redis?"], ["check"]):
        line = run(*command, "--config", "own.yaml", code=2)
        assert "LightRAG refuses it: Embedding dim mismatch, expected: 128" in line
        assert "after a change of the embedding, use another LIGHTRAG_WORKSPACE" in line
        assert line.count("\n") == 1
    damaged = Path(environment["LIGHTRAG_WORKING_DIR"]) / workspace / "kv_store_full_docs.json"
    damaged.write_text("{")
    line = run("query", "Who uses Redis?", code=2)
    assert "is damaged; restore it, or use another LIGHTRAG_WORKSPACE" in line
    monkeypatch.setenv("NEO4J_WORKSPACE", "elsewhere")
    assert "$NEO4J_WORKSPACE is 'elsewhere' and would put the graph" in run("check", code=1)


@pytest.mark.usefixtures("environment")
def test_ctrl_c_ends_it_at_once_and_loses_nothing(neo4j_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKED", str(Path("asked").absolute()))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    Path("a.md").write_text("Here Ada met Bob.")
    command = [COMMAND, "insert", "a.md", "--config", config_with_model("silent")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while not Path("asked").exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            _, printed = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "abandoned" not in printed
    assert "Traceback" not in printed
    neo4j_server.until_no_connection_is_left()
    assert run_json("insert", "a.md")["inserted"][0]["status"] == "processed"


def test_insert_query_and_delete_go_through_a_worker_that_runs(
    start_worker: StartWorker,
    neo4j_server: Server,
    workspace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = start_worker("--concurrency", "1")
    worker.until_ready()
    Path("a.md").write_text("Our team runs Celery with Redis.")
    (row,) = run_json("insert", "a.md", "--document-id", "a")["inserted"]
    assert (row["document_id"], row["status"]) == ("a", "processed")
    assert "Our team runs Celery with Redis." in run("query", "Who uses Redis?", "--mode", "local")

    # The workspace is the command's own, not the one the worker was started with.
    other = f"{workspace}_other"
    monkeypatch.setenv("LIGHTRAG_WORKSPACE", other)
    assert f"workspace '{other}' holds no documents yet" in run("query", "Who uses Redis?", code=1)
    assert f"workspace '{other}' has no document 'a'" in run("delete", "a", code=1)
    monkeypatch.setenv("LIGHTRAG_WORKSPACE", workspace)
    assert run_json("delete", "a")["deleted"] == [{"document_id": "a", "workspace": workspace, "status": "deleted"}]
    assert worker.log.count("succeeded in") == 3
    assert worker.log.count("raised unexpected") == worker.log.count("Traceback") == 0
    neo4j_server.forget_workspace(other)


@pytest.mark.usefixtures("environment")
def test_a_hosted_model_by_configuration(openai_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own.yaml").write_text(config_with_openai(openai_server.base_url))
    monkeypatch.setenv("APP_CONTAINER_CONFIG", "own.yaml")
    Path("a.md").write_text("Our team runs Celery with Redis.")
    run("insert", "a.md")
    assert "Our team runs Celery with Redis." in run("query", "Who uses Redis?")
    assert {path for path, _ in openai_server.requests} == {"/v1/chat/completions", "/v1/embeddings"}

    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-key")
    Path("b.md").write_text("Here Ada met Bob.")
    report = run("insert", "b.md", code=1)
    assert "b.md: document " in report
    assert "wrong key" in report
    assert "sk-wrong-key" not in report
