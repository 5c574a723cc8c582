"""The demo on a server that is there already, by Celery workers and by a Prefect flow."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from tests.integration.test_command import run, run_json
from tests.support.servers import Server
from wiring.process_file import ProcessFile


def test_the_demo_runs_by_celery_and_prefect_skips_what_is_there_and_leaves_nothing_running(
    environment: dict[str, str], neo4j_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in environment.keys() - neo4j_server.environment.keys():
        monkeypatch.delenv(name)
    try:
        first = run_json("demo", "--documents", "6")
        assert (first["inserted"], first["there_already"], first["failed"]) == (6, 0, 0)
        assert first["entities"] > 20
        assert first["relations"] > 5
        assert len(first["answers"]) == 2
        assert first["drivers_opened"] == first["drivers_closed"] == first["worker_processes"] <= 2
        assert first["connections_opened"] <= 1 + 2 * 6  # LightRAG's, four at once, one inside another, the lease's
        assert first["connections_left"] == 0
        second = run_json("demo", "--documents", "6")
        assert (second["inserted"], second["there_already"]) == (0, 6)
        assert (second["entities"], second["relations"]) == (first["entities"], first["relations"])

        printed = run("demo", "--prefect", "--documents", "6", "--keep")
        pages = re.search(r"open (\S+)", printed)
        assert pages is not None, printed
        assert httpx.get(pages.group(1)).text.startswith("<!DOCTYPE html>")
        by_prefect = run_json("demo", "--prefect", "--documents", "6")
        assert by_prefect["differences"] == 0
        for name in ("entities", "relations", "answers", "there_already", "failed"):
            assert by_prefect[name] == second[name]
        assert by_prefect["drivers_opened"] == by_prefect["drivers_closed"] == by_prefect["worker_processes"] == 1
        assert by_prefect["connections_opened"] <= 1 + 6
        assert by_prefect["connections_left"] == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(pages.group(1))
    finally:
        for folder in Path(".lightrag").glob("demo_prefect*"):
            ProcessFile(folder / "server.json").end(60)
        for workspace in ("demo", "demo_prefect"):
            neo4j_server.forget_workspace(workspace)
    neo4j_server.until_no_connection_is_left()
    assert not [*Path().rglob("worker.json"), *Path().rglob("server.json"), *Path().rglob("flow.json")]
