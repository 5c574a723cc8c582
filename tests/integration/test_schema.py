"""The constraint: made before LightRAG's index, also by processes that start together; duplicates are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

from app_container import AppContainerError, Container
from tests import PROJECT
from tests.support.duplicates import open_transaction, whole_graph
from tests.support.schema import ONE, constraints, initialize, plain_indexes, run
from tests.support.servers import Server
from tests.support.workers import StartWorker
from wiring.lightrag import schema
from wiring.lightrag.processes import prepare_graph
from wiring.lightrag.schema import DuplicateEntitiesError

TIMEOUT = 60.0


def test_an_entity_can_be_there_only_once(container: Container, neo4j_server: Server, workspace: str) -> None:
    initialize(container, workspace, times=4)
    assert constraints(neo4j_server, workspace) == ONE


def test_an_index_from_before_is_replaced_by_the_constraint(
    container: Container, neo4j_server: Server, workspace: str
) -> None:
    neo4j_server.query(f"CREATE INDEX FOR (n:`{workspace}`) ON (n.entity_id)")
    neo4j_server.query(f"UNWIND range(1, 100) AS i CREATE (:`{workspace}` {{entity_id: toString(i)}})")
    initialize(container, workspace)
    assert constraints(neo4j_server, workspace) == ONE
    assert plain_indexes(neo4j_server, workspace) == []
    assert neo4j_server.query(f"MATCH (n:`{workspace}`) RETURN count(n) AS n") == [{"n": 100}]


RACE = """
import asyncio, json, multiprocessing, sys
from neo4j.exceptions import Neo4jError
from app_container import create_container
from wiring.lightrag.schema import ensure_unique_entities

async def make_index(driver, label):  # as LightRAG's storage does, which logs what goes wrong and works on
    async with driver.session(database="neo4j") as session:
        try:
            await (await session.run(f"CREATE INDEX IF NOT EXISTS FOR (n:`{label}`) ON (n.entity_id)")).consume()
        except Neo4jError:
            pass

async def take_part(driver, kind, label):
    if kind != "upstream":
        await ensure_unique_entities(driver, "neo4j", label)
    elif label.endswith("upstream"):
        await make_index(driver, label)

async def connect(driver):
    async with driver.session(database="neo4j") as session:
        await (await session.run("RETURN 1")).consume()

def race(kind, labels, start, results):
    container = create_container()
    driver = container.bridged_driver if kind == "bridged" else container.async_driver
    with asyncio.Runner() as runner:
        async def get():
            return driver()
        runner.run(connect(runner.run(get())))
        for label in labels:
            start.wait(60)
            try:
                runner.run(take_part(runner.run(get()), kind, label))
                results.put([label, kind, "done"])
            except BaseException as error:
                results.put([label, kind, f"{type(error).__name__} {error}"])
    container.shutdown_resources()

kinds = ["async", "bridged"] * 4 + ["upstream"] * 2
labels = sys.argv[1:]
context = multiprocessing.get_context("fork")  # of a process that opened nothing: each makes its own container
start, results = context.Barrier(len(kinds)), context.Queue()
processes = [context.Process(target=race, args=(kind, labels, start, results), daemon=True) for kind in kinds]
for process in processes:
    process.start()
found = [results.get(timeout=60) for _ in kinds for _ in labels]
for process in processes:
    process.join(30)
print(json.dumps([found, [process.exitcode for process in processes]]))
"""


def test_eight_processes_that_start_together_make_one_constraint(
    environment: dict[str, str], neo4j_server: Server, workspace: str
) -> None:
    kinds = [f"{index}_{others}" for index in ("new", "index") for others in ("alone", "upstream")] * 3
    labels = [f"{workspace}_{n}_{kind}" for n, kind in enumerate(kinds)]
    names = [str(n) for n in range(200)]
    try:
        for label in labels:
            if "_index_" in label:
                neo4j_server.query(f"CREATE INDEX FOR (n:`{label}`) ON (n.entity_id)")
                neo4j_server.query(f"UNWIND $names AS name CREATE (:`{label}` {{entity_id: name}})", names=names)
        done = subprocess.run(
            [sys.executable, "-c", RACE, *labels], env={**os.environ, **environment, "PYTHONPATH": str(PROJECT)},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.stderr == ""
        results, codes = json.loads(done.stdout)
        assert [result for result in results if result[2] != "done"] == []
        assert len(results) == 10 * len(labels)
        assert codes == [0] * 10
        for label in labels:
            assert (label, constraints(neo4j_server, label)) == (label, ONE)
            assert (label, plain_indexes(neo4j_server, label)) == (label, [])
            found = neo4j_server.query(f"MATCH (n:`{label}`) RETURN n.entity_id AS name ORDER BY toInteger(name)")
            assert [row["name"] for row in found] == (names if "_index_" in label else [])
    finally:
        for label in labels:
            neo4j_server.forget_workspace(label)
    neo4j_server.until_no_connection_is_left()


def twice(server: Server, workspace: str, name: str = "twice") -> None:
    server.query(f"UNWIND [1, 1] AS i CREATE (:`{workspace.replace('`', '``')}` {{entity_id: $name}})", name=name)


def told(workspace: str, command: str, name: str = "twice") -> str:
    return (
        f"workspace {workspace!r} in database 'neo4j' holds entities twice, from before there was a constraint: "
        f"1 of them, such as entity_id = {name!r}; merge them: {command}"
    )


@pytest.mark.parametrize(
    ("suffix", "option"),
    [
        ("", ""),  # the configured workspace
        ("-b.c", " --workspace {}"),
        ("_é", " --workspace '{}'"),
        (" it's `x`", """ --workspace '{}'"'"'s `x`'"""),
    ],
)
def test_a_storage_refuses_entities_that_are_there_twice(
    container: Container, neo4j_server: Server, workspace: str, suffix: str, option: str
) -> None:
    label = workspace + suffix
    twice(neo4j_server, label, "two\nlines")
    with pytest.raises(DuplicateEntitiesError) as raised:
        initialize(container, label)
    neo4j_server.query(f"MATCH (n:`{label.replace('`', '``')}`) DELETE n")
    command = "lightrag-neo4j repair" + option.format(label.partition("'")[0])
    assert str(raised.value) == told(label, command, "two\nlines")


def test_a_worker_does_not_start_and_names_the_command_that_helps(
    start_worker: StartWorker, neo4j_server: Server, workspace: str
) -> None:
    twice(neo4j_server, workspace)
    line = start_worker("--concurrency", "1").failing_start()
    assert line == told(workspace, "lightrag-neo4j repair")
    neo4j_server.until_no_connection_is_left()
    before = whole_graph(neo4j_server)
    assert run("check") == (1, line + "\n")
    assert whole_graph(neo4j_server) == before

    command = line.rpartition(": lightrag-neo4j ")[2].split()
    assert run(*command)[0] == 0
    assert constraints(neo4j_server, workspace) == ONE
    code, shown = run("check")
    assert code == 0, shown
    neo4j_server.until_no_connection_is_left()


def test_the_parent_makes_the_constraint_and_keeps_nothing_open(
    container: Container, neo4j_server: Server, workspace: str
) -> None:
    threads = set(threading.enumerate())
    prepare_graph(container.settings())
    assert constraints(neo4j_server, workspace) == ONE
    assert set(threading.enumerate()) <= threads
    neo4j_server.until_no_connection_is_left()
    assert not container.async_driver.initialized
    assert not container.sync_driver.initialized


def test_lightrags_own_storage_is_left_to_itself(container: Container, neo4j_server: Server, workspace: str) -> None:
    settings = container.settings()
    lightrag = settings.lightrag.model_copy(update={"graph_storage": "Neo4JStorage"})
    twice(neo4j_server, workspace)
    prepare_graph(settings.model_copy(update={"lightrag": lightrag}))
    assert constraints(neo4j_server, workspace) == []


def test_a_start_does_not_wait_for_ever(
    container: Container, neo4j_server: Server, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "TIMEOUT", 1.0)
    with open_transaction(neo4j_server, f"CREATE (:`{workspace}` {{entity_id: 'a'}})"):
        with pytest.raises(AppContainerError, match=rf"took more than 1 s for the constraint on .*'{workspace}'"):
            prepare_graph(container.settings())
        with pytest.raises(AppContainerError, match=rf"took more than 1 s for the constraint on .*'{workspace}'"):
            initialize(container, workspace)
    container.shutdown_resources()
    neo4j_server.until_no_connection_is_left()
