"""The Neo4j that needs neither Docker nor Java, and the demo on it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from neo4j import GraphDatabase

from tests.integration.test_command import run, run_json
from tests.support.schema import COMMAND
from wiring.local_neo4j import LocalNeo4j
from wiring.process_file import ProcessFile
from wiring.testing.celery_worker import end_family


def test_start_find_keep_and_stop(tmp_path: Path) -> None:
    home = ["--home", str(tmp_path / "neo4j")]
    assert json.loads(run_output_of_status(home)) == {"running": False}
    first = run_json("neo4j", "start", *home)
    server = psutil.Process(first["pid"])
    try:
        exports = run("neo4j", "start", *home)  # finds it running
        assert exports.startswith(f"export NEO4J_URI={first['uri']} NEO4J_PASSWORD=")
        password_file = Path(first["password_file"])
        assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
        password = password_file.read_text()
        assert password not in exports
        assert password not in " ".join(server.cmdline())
        assert {c.laddr.ip for c in server.net_connections() if c.status == psutil.CONN_LISTEN} <= {
            "127.0.0.1",
            "::ffff:127.0.0.1",
        }
        auth = ("neo4j", password)
        with GraphDatabase.driver(first["uri"], auth=auth) as driver:
            driver.execute_query("CREATE (:Kept {by: 'the disk'})")

        # A pid file that is left over: the server is killed, then started again, and has its data.
        server.kill()
        server.wait(20)
        second = run_json("neo4j", "start", *home)
        assert second["pid"] != first["pid"]
        with GraphDatabase.driver(second["uri"], auth=auth) as driver:
            records, _, _ = driver.execute_query("MATCH (k:Kept) RETURN k.by AS by")
            assert [record["by"] for record in records] == ["the disk"]
        server = psutil.Process(second["pid"])
    finally:
        run("neo4j", "stop", *home)
    assert not server.is_running()
    assert LocalNeo4j(tmp_path / "neo4j").status() is None


def run_output_of_status(home: list[str]) -> str:
    done = subprocess.run([COMMAND, "neo4j", "status", "--json", *home], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stdout


def test_ctrl_c_in_the_demo_leaves_nothing_running(tmp_path: Path) -> None:
    with Path("demo.log").open("w") as log:
        demo = subprocess.Popen(
            [sys.executable, COMMAND, "demo"], stdout=log, stderr=log, start_new_session=True, env={**os.environ}
        )
    try:
        worker_log = tmp_path / ".lightrag" / "demo" / "worker.log"
        deadline = time.monotonic() + 240
        while not (worker_log.exists() and "opened AsyncBoltDriver" in worker_log.read_text(errors="replace")):
            assert demo.poll() is None, Path("demo.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        started = psutil.Process(demo.pid).children(recursive=True)
        assert any("CommunityEntryPoint" in " ".join(process.cmdline()) for process in started)
        os.killpg(demo.pid, signal.SIGINT)  # what a terminal does
        assert demo.wait(90) == 130
        gone, alive = psutil.wait_procs(started, 20)
        assert (len(gone), alive) == (len(started), [])
    finally:
        end_family(demo)
    assert "Traceback" not in Path("demo.log").read_text()


def test_what_the_demo_keeps_can_be_used_as_it_says_and_is_stopped_by_the_next_demo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printed = run("demo", "--documents", "2", "--concurrency", "1", "--keep")
    local = LocalNeo4j(Path(".lightrag/neo4j"))
    try:
        server = local.status()
        assert server is not None
        worker = psutil.Process(json.loads(Path(".lightrag/demo/worker.json").read_text())["pid"])
        family = [psutil.Process(server.pid), worker, *worker.children(recursive=True)]
        exports = "\n".join(line.strip() for line in printed.splitlines() if line.startswith("    export "))
        script = f"{exports}\nenv --null"
        done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=20, check=True)
        for name, _, value in (entry.partition("=") for entry in done.stdout.split("\0") if entry):
            monkeypatch.setenv(name, value)
        assert run_json("check")["workers"].startswith("celery@")
        assert run_json("query", "Who?")["workspace"] == "demo"
        assert run_json("demo", "--documents", "2")["there_already"] == 2
        _, alive = psutil.wait_procs(family, 20)
        assert alive == []
    finally:
        ProcessFile(Path(".lightrag/demo/worker.json")).end(60)
        local.stop()
