"""A real Celery prefork worker on a real server: ``celery -A wiring.celery_app worker``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from celery import Celery

from tests.support.models import config_with_model
from tests.support.servers import Server
from tests.support.workers import StartWorker, call, doc_status, insert
from wiring.runner import Document


def test_two_children_insert_everything_once_with_a_driver_each(
    start_worker: StartWorker,
    environment: dict[str, str],
    neo4j_server: Server,
    workspace: str,
    connections_opened: Callable[[], int],
) -> None:
    people = [f"Person{n}" for n in range(20)]
    texts = [
        " ".join(f"Here {people[(n + k) % 20]} met {people[(n * 7 + k) % 20]} in Room{n}." for k in range(5))
        for n in range(20)
    ]
    documents = [Document(text, f"notes/{n}.md", f"doc{n}") for n, text in enumerate(texts)]
    worker = start_worker("--concurrency", "2", LOG_FORMAT="json")
    workers = worker.until_found()

    outcomes = insert(workers, documents)
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    rows = doc_status(environment)
    assert {key: row["status"] for key, row in rows.items()} == {f"doc{n}": "processed" for n in range(20)}

    entities = neo4j_server.query(f"MATCH (n:`{workspace}`) RETURN n.entity_id AS name, n.source_id AS chunks")
    assert max(Counter(row["name"] for row in entities).values()) == 1
    mentions = {row["name"]: len(row["chunks"].split("<SEP>")) for row in entities}
    assert mentions == {name: sum(f"{name} " in text or f"{name}." in text for text in texts) for name in mentions}
    assert {*people, *(f"Room{n}" for n in range(20))} <= set(mentions)

    opened = worker.drivers("opened")
    assert len(opened) == len(set(opened)) == 2
    assert connections_opened() <= 1 + 2 * 4 + 6  # the parent's check, four a child, and what this test looked with

    again = insert(workers, documents[:5])
    assert [outcome.result["status"] for outcome in again if outcome.result] == ["unchanged"] * 5
    assert len(worker.drivers("opened")) == 2

    family = psutil.Process(worker.process.pid).children(recursive=True)
    assert worker.stop() == 0
    assert sorted(worker.drivers("closed")) == sorted(opened)
    neo4j_server.until_no_connection_is_left()
    gone, alive = psutil.wait_procs(family, 10)
    assert (len(gone), alive) == (len(family), [])
    assert "Traceback" not in worker.log

    lines = worker.json_lines()
    told = [line for line in lines if line["logger"] == "wiring.lightrag.documents"]
    assert {line["document_id"] for line in told} == set(rows)
    received = {line["task_id"] for line in lines if line["message"].endswith("received")}
    assert received == {line["task_id"] for line in told}
    assert len(received) == len(told) == 25
    assert {(line["task_name"], line["workspace"]) for line in told} == {("lightrag.insert_document", workspace)}
    for line in lines:  # LightRAG's own
        if line["message"].startswith("Processing d-id: "):
            assert line["message"] == f"Processing d-id: {line['document_id']}"
            assert (line["workspace"], "task_id" in line) == (workspace, False)


def test_documents_questions_and_mistakes(
    start_worker: StartWorker, environment: dict[str, str], neo4j_server: Server, workspace: str, tmp_path: Path
) -> None:
    forgive = tmp_path / "forgive"
    config = config_with_model("failing_on_request")
    worker = start_worker("--concurrency", "1", APP_CONTAINER_CONFIG=config, FORGIVE=str(forgive))
    workers = worker.until_found()

    with pytest.raises(Exception, match=rf"workspace '{workspace}' holds no documents yet; insert some"):
        call(workers, "query", "Who uses Redis?")

    first = call(workers, "insert_document", "Our team runs Celery with Redis.", document_id="a", file_path="x/a.md")
    assert (first["status"], first["document_id"], first["workspace"]) == ("processed", "a", workspace)
    answer = call(workers, "query", "Who uses Redis?")
    assert "Celery - Redis: Our team runs Celery with Redis." in answer["answer"]
    assert answer["references"] == ["x__a.md"]

    # The same again, the same text under another name, another text under the same id or path.
    same = call(workers, "insert_document", "Our team runs Celery with Redis.", document_id="a", file_path="x/a.md")
    assert same["status"] == "unchanged"
    twin = call(workers, "insert_document", "Our team runs Celery with Redis.", document_id="b", file_path="y/a.md")
    assert (twin["status"], twin["duplicate_of"]) == ("duplicate", "a")
    with pytest.raises(Exception, match=r"'a' is there with another text; .* \(lightrag-neo4j delete a\)"):
        call(workers, "insert_document", "Another text.", document_id="a")
    with pytest.raises(Exception, match=r"'c' was refused, for its path 'x__a\.md' belongs to document 'a'; to"):
        call(workers, "insert_document", "Another text.", document_id="c", file_path="x/a.md")
    assert set(doc_status(environment)) == {"a"}

    # A failure carries LightRAG's reason, stops nothing else, and can be tried again.
    with pytest.raises(Exception, match=r"document 'bad' failed in LightRAG: .*the model is out of order"):
        call(workers, "insert_document", "PLEASE-FAIL now and then.", document_id="bad")
    assert call(workers, "insert_document", "Here Ada wrote to Bob.", document_id="d")["status"] == "processed"
    assert "the model is out of order: ***" in worker.log
    assert neo4j_server.password not in worker.log
    forgive.touch()
    assert call(workers, "insert_document", "PLEASE-FAIL now and then.", document_id="bad")["status"] == "processed"
    assert {key: row["status"] for key, row in doc_status(environment).items()} == dict.fromkeys(
        ("a", "bad", "d"), "processed"
    )

    # Deleting takes away what only that document brought.
    assert call(workers, "delete_document", "d") == {"document_id": "d", "workspace": workspace, "status": "deleted"}
    names = {row["name"] for row in neo4j_server.query(f"MATCH (n:`{workspace}`) RETURN n.entity_id AS name")}
    assert {"Celery", "Redis"} <= names
    assert names.isdisjoint({"Ada", "Bob"})
    with pytest.raises(Exception, match=f"workspace '{workspace}' has no document 'd'"):
        call(workers, "delete_document", "d")

    for text, kwargs, reason in [
        ("", {}, "the document is empty"),
        ("x" * 4_000_001, {}, "split it"),
        ("x", {"workspace": "../../etc"}, r"workspace '\.\./\.\./etc' is not a name"),
    ]:
        with pytest.raises(Exception, match=reason):
            call(workers, "insert_document", text, **kwargs)


def test_workspaces_are_apart(start_worker: StartWorker, neo4j_server: Server, workspace: str) -> None:
    other = f"{workspace}_other"
    workers = start_worker("--concurrency", "1").until_found()
    try:
        call(workers, "insert_document", "Here Ada met Bob.", document_id="a")
        call(workers, "insert_document", "Here Eve met Mallory.", document_id="a", workspace=other)
        for name, expected in ((workspace, {"Ada", "Bob"}), (other, {"Eve", "Mallory"})):
            rows = neo4j_server.query(f"MATCH (n:`{name}`) RETURN n.entity_id AS name")
            assert {row["name"] for row in rows} == expected
    finally:
        neo4j_server.forget_workspace(other)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"NEO4J_PASSWORD": "wrong-password"},
            "refuses user 'neo4j' with the password it was given; set NEO4J_USERNAME",
        ),
        ({"NEO4J_URI": "bolt://127.0.0.1:1"}, "Neo4j at bolt://127.0.0.1:1 does not answer"),
        ({"NEO4J_DATABASE": "nowhere"}, "set NEO4J_DATABASE to one that exists"),
        ({"NEO4J_MAX_POOL_SIZE": "abc"}, "$NEO4J_MAX_CONNECTION_POOL_SIZE): found 'abc', expected a whole number"),
        ({"LIGHTRAG_GRAPH_STORAGE": "Neo4JHybridStorag"}, "did you mean 'Neo4JHybridStorage'?"),
        ({"LIGHTRAG_KV_STORAGE": "JsonKVStorag"}, "found 'JsonKVStorag'; use one of ['JsonKVStorage', "),
    ],
)
def test_a_worker_that_cannot_work_does_not_start(
    start_worker: StartWorker, change: dict[str, str], expected: str
) -> None:
    line = start_worker(**change).failing_start()
    assert expected in line
    assert "wrong-password" not in line


def test_a_second_worker_on_the_same_files_does_not_start(start_worker: StartWorker, tmp_path: Path) -> None:
    first = start_worker("--concurrency", "1")
    first.until_ready()
    second_folder = tmp_path / "second"
    second_folder.mkdir()
    line = start_worker("--concurrency", "1", CELERY_DATA_DIR=str(second_folder)).failing_start()
    assert f"is in use by process {first.process.pid} or one it started, and its files would lose what a" in line


NOT_WIRED = """
from celery import Celery
from dependency_injector.wiring import Provide, inject
from app_container import Container, create_container
from wiring.celery import setup
import forgotten

app = Celery("not_wired", broker="memory://")
setup(app, create_container())

@app.task
@inject
def count(driver=Provide[Container.sync_driver]): return driver
"""


def test_a_worker_with_functions_that_were_never_wired_does_not_start(start_worker: StartWorker) -> None:
    Path("not_wired.py").write_text(NOT_WIRED)
    Path("forgotten.py").write_text(NOT_WIRED.partition("import forgotten")[0] + NOT_WIRED.partition("@app.task\n")[2])
    line = start_worker("--concurrency", "1", app="not_wired").failing_start()
    assert line == (
        "not wired to the container: not_wired (count asks for injection), forgotten (count asks for injection); call "
        "create_container(wire=['not_wired', 'forgotten']) or container.wire(modules=['not_wired', 'forgotten']) "
        "before it is used"
    )


OWN_WORKER = """
import os
from celery import Celery
from dependency_injector.wiring import Provide, inject
from app_container import Container, create_container
from wiring.celery import async_task, setup

app = Celery("own", broker="filesystem://", backend=f"file://{os.environ['OWN_FOLDER']}")
app.conf.broker_transport_options = dict.fromkeys(
    ("data_folder_in", "data_folder_out", "control_folder"), os.environ["OWN_FOLDER"]
)
setup(app, create_container())


@async_task(app, name="answer")
@inject
async def answer(driver=Provide[Container.driver]) -> int:
    records, _, _ = await driver.execute_query("RETURN 42 AS answer")
    return records[0]["answer"]


@async_task(app, name="insert")
@inject
async def insert(text, documents=Provide[Container.documents]) -> str:
    return (await documents.insert(text))["status"]
"""


def test_an_own_worker_uses_its_driver_beside_the_ready_worker_and_its_folder_only_when_it_is_free(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    ready = start_worker("--concurrency", "1")
    ready.until_ready()
    Path("own.py").write_text(OWN_WORKER)
    folder = tmp_path / "own"
    folder.mkdir()
    own = start_worker("--concurrency", "2", app="own", OWN_FOLDER=str(folder))
    app = Celery(broker="filesystem://", backend=f"file://{folder}", set_as_current=False)
    app.conf.broker_transport_options = dict.fromkeys(
        ("data_folder_in", "data_folder_out", "control_folder"), str(folder)
    )
    assert app.send_task("answer").get(timeout=60) == 42
    with pytest.raises(Exception, match=f"is in use by process {ready.process.pid} or one it started"):
        app.send_task("insert", ("Here Ada met Bob.",)).get(timeout=60)
    assert ready.stop() == 0
    results = [app.send_task("insert", (f"Here Ada met Bob{n}.",)) for n in range(4)]
    assert [result.get(timeout=60) for result in results] == ["processed"] * 4
    assert own.stop() == 0
    assert sorted(own.drivers("opened")) == sorted(own.drivers("closed"))
