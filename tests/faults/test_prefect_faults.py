"""A flow whose process is killed, or whose Neo4j goes away: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from pprint import pformat
from typing import Any

import psutil
import pytest

from tests import PROJECT
from tests.faults.conftest import Undisturbed
from tests.support.fault_runs import ModelCall, going_on, read_calls, texts
from tests.support.models import config_with_model
from tests.support.own_neo4j import OwnNeo4j
from tests.support.prefect_servers import PrefectServer
from tests.support.python_processes import PythonProcess
from tests.support.same_graph import read_graph
from tests.support.servers import Server
from tests.support.workers import doc_status
from wiring.testing.waiting import until

DOCUMENTS = texts(8)


class Served:
    """The flow ``ingest``, served on a Neo4j that may be a test's own."""

    def __init__(self, prefect: PrefectServer, server: Server, folder: Path, workspace: str) -> None:
        self.prefect, self.server, self.workspace, self.folder = prefect, server, workspace, folder
        self.environment = {
            **server.environment,
            **prefect.environment,
            "APP_CONTAINER_CONFIG": config_with_model("watched"),
            "LIGHTRAG_WORKSPACE": workspace,
            "LIGHTRAG_WORKING_DIR": str(folder / "rag"),
            "LIGHTRAG_LEASE_TERM": "5",
            "NEO4J_MAX_TRANSACTION_RETRY_TIME": "2",
            "MODEL_CALLS": str(folder / "model_calls"),
            "MODEL_SECONDS": "1",
        }
        self.process = PythonProcess(folder, "served", self.environment, "-m", "wiring.prefect_app")
        self.documents = folder / "notes"
        self.documents.mkdir()
        for key, text in DOCUMENTS.items():
            (self.documents / f"{key}.md").write_text(text)

    def run(self) -> str:
        return self.prefect.run_deployment("ingest/ingest", paths=["notes"])

    def until_mid_document(self) -> ModelCall:
        """Until a process waits for the model, after two documents."""
        file = Path(self.environment["MODEL_CALLS"])
        call: ModelCall = until(lambda: going_on(read_calls(file), done=2), 120, told=lambda: self.process.log)
        return call

    def check_all_are_there(self, undisturbed: Undisturbed) -> None:
        rows = doc_status(self.environment)
        assert sorted(row["file_path"] for row in rows.values()) == [f"notes__{key}.md" for key in sorted(DOCUMENTS)]
        assert {row["status"] for row in rows.values()} == {"processed"}
        graph = read_graph(self.server, self.workspace)
        assert graph.twice == []
        differences = graph.differences(undisturbed(DOCUMENTS).graph)  # sources differ, for they are made of ids
        wrong = {what: keys for what in ("files", "missing", "too many") if (keys := differences[what])}
        assert not wrong, pformat(wrong)
        self.server.until_no_connection_is_left()


Serve = Callable[[Server], Served]


@pytest.fixture
def serve(prefect_server: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.setenv("APP_CONTAINER_CONFIG", str(PROJECT / "config.yaml"))
    with ExitStack() as stack:

        def start(server: Server) -> Served:
            workspace = f"test_{os.getpid()}_{time.monotonic_ns()}"
            stack.callback(server.forget_workspace, workspace)
            served = Served(prefect_server, server, tmp_path, workspace)
            stack.callback(served.process.kill)
            return served

        yield start


def test_a_flow_process_is_killed_in_mid_document_and_the_flow_run_again(
    serve: Serve, neo4j_server: Server, undisturbed: Undisturbed
) -> None:
    served = serve(neo4j_server)
    first = served.run()
    os.kill(served.until_mid_document().pid, signal.SIGKILL)
    assert served.prefect.until_final(first)["state_type"] == "CRASHED", served.process.log
    again = served.prefect.until_final(served.run())
    assert again["state_type"] == "COMPLETED", served.process.log
    served.check_all_are_there(undisturbed)


def test_a_run_that_is_cancelled_in_mid_document_leaves_no_process_and_no_connection(
    serve: Serve, neo4j_server: Server, undisturbed: Undisturbed
) -> None:
    served = serve(neo4j_server)
    first = served.run()
    call = served.until_mid_document()
    served.prefect.post(f"/flow_runs/{first}/set_state", {"state": {"type": "CANCELLING"}})
    assert served.prefect.until_final(first)["state_type"] == "CANCELLED", served.process.log
    until(lambda: not psutil.pid_exists(call.pid), 60, told=lambda: served.process.log)
    neo4j_server.until_no_connection_is_left()
    assert served.prefect.until_final(served.run())["state_type"] == "COMPLETED", served.process.log
    served.check_all_are_there(undisturbed)


def test_neo4j_is_killed_during_a_flow_and_comes_back(
    serve: Serve, own_neo4j: OwnNeo4j, undisturbed: Undisturbed
) -> None:
    served = serve(own_neo4j)
    run = served.run()
    served.until_mid_document()
    own_neo4j.own.kill()
    until(lambda: "AwaitingRetry" in _states(served, run), 120, told=lambda: served.process.log)
    own_neo4j.start_again()
    assert served.prefect.until_final(run, 300)["state_type"] == "COMPLETED", served.process.log
    assert max(each["run_count"] for each in served.prefect.task_runs(run)) > 1
    served.check_all_are_there(undisturbed)


def _states(served: Served, run: str) -> set[Any]:
    return {each["state_name"] for each in served.prefect.task_runs(run)}
