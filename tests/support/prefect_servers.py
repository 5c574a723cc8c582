"""A real Prefect server for the tests of a process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.support.python_processes import StartPython
from wiring.testing.own_server import free_port
from wiring.testing.process_server import ProcessServer
from wiring.testing.waiting import until, until_it_answers

FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass(frozen=True)
class PrefectServer:
    """A server; ``pages`` is the address of its web pages, ``environment`` for those that talk to it."""

    pages: str
    environment: dict[str, str]

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask its API, e.g. ``/flow_runs/filter``."""
        return self._ask("POST", path, json=body or {}).raise_for_status().json()

    def get(self, path: str) -> Any:
        return self._ask("GET", path).raise_for_status().json()

    def run_deployment(self, name: str, **parameters: Any) -> str:
        """Trigger a deployment, ``flow/deployment``, when it is there; returns the id of the flow run."""

        def find() -> Any:
            answer = self._ask("GET", f"/deployments/name/{name}")
            return answer.json() if answer.is_success else None

        deployment = until(find, 90, told=lambda: f"no deployment {name}")
        run = self.post(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})
        return str(run["id"])

    def until_final(self, flow_run: str, seconds: float = 180) -> dict[str, Any]:
        """The flow run, when it has ended."""

        def find() -> Any:
            run = self.get(f"/flow_runs/{flow_run}")
            return run if run["state_type"] in FINAL else None

        found: dict[str, Any] = until(find, seconds, told=lambda: str(self.get(f"/flow_runs/{flow_run}")))
        return found

    def artifacts(self, flow_run: str) -> list[dict[str, Any]]:
        """Those that the flow made; Prefect keeps results as artifacts without a key."""
        wanted = {"flow_run_id": {"any_": [flow_run]}, "key": {"exists_": True}}
        found: list[dict[str, Any]] = self.post("/artifacts/filter", {"artifacts": wanted})
        return found

    def task_runs(self, flow_run: str) -> list[dict[str, Any]]:
        wanted = {"flow_runs": {"id": {"any_": [flow_run]}}}
        found: list[dict[str, Any]] = self.post("/task_runs/filter", wanted)
        return found

    def ended_tasks(self, flow_run: str, number: int) -> dict[str, str]:
        """Names and states of its tasks; Prefect notes what became of a task a moment after it ended."""

        def find() -> dict[str, str] | None:
            tasks = {each["name"]: each["state_name"] for each in self.task_runs(flow_run)}
            return tasks if len(tasks) == number and set(tasks.values()) <= {"Completed", "Failed"} else None

        found: dict[str, str] = until(find, told=lambda: str(self.task_runs(flow_run)))
        return found

    def _ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        """As Prefect's own client does, which asks again when SQLite is locked for a moment."""

        def answered() -> httpx.Response | None:
            answer = httpx.request(method, f"{self.pages}/api{path}", timeout=60, **body)
            return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

        found: httpx.Response = until(answered, told=lambda: f"{path} is not available")
        return found


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server with a database in a folder of its own; stopped when the last test is done."""
    folder, port = tmp_path_factory.mktemp("prefect"), free_port()
    pages = f"http://127.0.0.1:{port}"
    environment = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": f"{pages}/api",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = ProcessServer(command, folder, environment | {"PREFECT_UI_API_URL": f"{pages}/api"})
    server.start()
    try:
        until_it_answers(lambda: httpx.get(f"{pages}/api/health", timeout=5).raise_for_status(), pages)
        yield PrefectServer(pages, environment)
    finally:
        server.close()


@pytest.fixture
def start_flow(prefect_server: PrefectServer, start_python: StartPython) -> StartPython:
    """Starts ``python ARGUMENTS`` with the test's settings and the Prefect server, and ends those that still run."""
    return lambda *arguments, **overrides: start_python(*arguments, **prefect_server.environment | overrides)
