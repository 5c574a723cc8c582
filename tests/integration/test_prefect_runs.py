"""Real runs: deployments on a Prefect server, triggered through its API, whose documents end in Neo4j."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import httpx
import pytest

from tests import PROJECT
from tests.support.pages import write_programs
from tests.support.prefect_servers import PrefectServer
from tests.support.python_processes import StartPython
from tests.support.same_graph import size
from tests.support.servers import Server
from wiring.testing.own_server import free_port
from wiring.testing.waiting import until

PAGE = (PROJECT / "docs" / "prefect.md").read_text()
TEXTS = ["Ada maintains Redis with Celery.", "Bob uses Prefect to run Neo4j."]


@pytest.fixture(autouse=True)
def _written_down(tmp_path: Path) -> None:
    """The programs of the page, where the flows of the test run."""
    write_programs(PAGE, tmp_path)


def test_a_served_deployment_ingests_files_and_texts_and_reports(
    prefect_server: PrefectServer, start_flow: StartPython, neo4j_server: Server, workspace: str, tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "one.md").write_text(TEXTS[0])
    (folder / "not_text.md").write_bytes(b"\xff\xfe\x00")
    port = free_port()
    served = start_flow("-m", "wiring.prefect_app", LOG_FORMAT="json", METRICS_PORT=str(port))

    run = prefect_server.run_deployment("ingest/ingest", paths=[str(folder)], texts=TEXTS[1:])
    ended = prefect_server.until_final(run)

    assert ended["state_type"] == "FAILED", served.log
    assert "1 of 3 documents failed" in ended["state"]["message"]
    assert "not_text.md': is not UTF-8 text" in ended["state"]["message"]
    (report,) = [each["data"] for each in prefect_server.artifacts(run)]
    assert re.search(rf"workspace `{workspace}`", report)
    assert rows(report) >= {("documents", "3"), ("inserted", "2"), ("there already", "0"), ("failures", "1")}
    graph = size(neo4j_server, workspace)
    assert rows(report) >= {(name, str(number)) for name, number in graph.items()}
    assert "not_text.md | is not UTF-8 text" in report

    (folder / "not_text.md").unlink()
    again = prefect_server.run_deployment("ingest/ingest", paths=[str(folder)], texts=TEXTS[1:])
    assert prefect_server.until_final(again)["state_type"] == "COMPLETED", served.log
    (report,) = [each["data"] for each in prefect_server.artifacts(again)]
    assert rows(report) >= {("documents", "2"), ("inserted", "0"), ("there already", "2"), ("failures", "0")}
    assert size(neo4j_server, workspace) == graph

    def counted() -> set[str]:
        return set(httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines())

    both_runs = {
        'lightrag_document_seconds_count{outcome="processed"} 2.0',
        'lightrag_document_seconds_count{outcome="unchanged"} 2.0',
        'neo4j_driver_opened_total{lifetime="worker_loop"} 2.0',
        'neo4j_driver_closed_total{lifetime="worker_loop"} 2.0',
    }
    until(lambda: both_runs <= counted(), told=lambda: str(counted()))  # their processes end after their states

    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(60) in (0, -signal.SIGTERM)
    lines = [json.loads(line) for line in (served.log + served.output_file.read_text()).splitlines()]
    assert {line["flow_run_id"] for line in lines if "flow_run_id" in line} == {run, again}
    assert any(line.keys() >= {"task_run_id", "workspace", "document_id"} for line in lines)
    neo4j_server.until_no_connection_is_left()


def test_your_own_flow_as_the_page_shows_it(start_flow: StartPython, neo4j_server: Server) -> None:
    try:
        assert start_flow("my_flow.py").finish() == 2
    finally:
        neo4j_server.forget_workspace("my_flow")
        neo4j_server.query("MATCH (p:Person) DELETE p")
    neo4j_server.until_no_connection_is_left()


def rows(report: str) -> set[tuple[str, str]]:
    return set(re.findall(r"^\| ([a-z ]+) \| ([\d.,]+) \|$", report, re.MULTILINE))


def test_a_worker_of_a_work_pool_runs_it_as_a_process(
    prefect_server: PrefectServer, start_flow: StartPython, neo4j_server: Server, workspace: str
) -> None:
    worker = start_flow("-m", "prefect", "worker", "start", "--pool", "processes", "--type", "process")
    until(lambda: prefect_server.post("/work_pools/filter"), told=lambda: worker.log)
    assert start_flow("deploy_ingest.py").process.wait(60) == 0
    run = prefect_server.run_deployment("ingest/by-worker", texts=TEXTS)
    assert prefect_server.until_final(run)["state_type"] == "COMPLETED", worker.log
    assert prefect_server.ended_tasks(run, 3) == dict.fromkeys([*TEXTS, f"count {workspace}"], "Completed")
    size(neo4j_server, workspace)
    neo4j_server.until_no_connection_is_left()
