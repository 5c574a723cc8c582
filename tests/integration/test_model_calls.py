"""How many calls of a model run at once, in all processes of a worker together."""

from __future__ import annotations

from pathlib import Path

from tests.support.models import config_with_model
from tests.support.servers import Server
from tests.support.workers import StartWorker


def test_the_limit_of_model_calls_holds_for_all_children_together(
    start_worker: StartWorker, neo4j_server: Server, workspace: str, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    config = Path(config_with_model("counted"))
    config.write_text(config.read_text().replace("\n  options: {}\n", "\n  options: {llm_model_max_async: 2}\n"))
    workers = start_worker("--concurrency", "3", APP_CONTAINER_CONFIG=str(config), MODEL_CALLS=str(calls)).until_found()
    text = "\n\n".join(f"Here Person{n} met Other{n}. " + "and so on " * 1500 for n in range(6))
    names = [f"{workspace}_{number}" for number in range(3)]
    try:
        results = [
            workers._app.send_task("lightrag.insert_document", (text,), {"document_id": "long", "workspace": name})
            for name in names
        ]
        assert [result.get(timeout=90)["status"] for result in results] == ["processed"] * 3
    finally:
        for name in names:
            neo4j_server.forget_workspace(name)
    at_once, most, processes = 0, 0, set()
    for line in calls.read_text().splitlines():
        _, what, process, _ = line.split()
        at_once += 1 if what == "begin" else -1
        most = max(most, at_once)
        processes.add(process)
    assert len(processes) == 3
    assert most == 2
