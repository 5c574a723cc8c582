"""``lightrag-neo4j repair`` that is killed, waits for locks, or has others write meanwhile."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from neo4j import GraphDatabase, ManagedTransaction

from app_container import Container, create_container
from tests.support.duplicates import chain, graph_of, open_transaction, until_somebody_waits
from tests.support.schema import COMMAND, ONE, constraints
from tests.support.servers import Server
from wiring.lightrag.repair import RepairError, repair
from wiring.lightrag.schema import make_constraint

pytestmark = pytest.mark.usefixtures("environment")


@contextmanager
def started_repair() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([COMMAND, "repair"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("held", "merged"), [("a node", 2), ("a relation", 0), ("what is written last", 3)])
def test_killed_in_the_middle_and_run_again_it_gives_the_graph_of_an_undisturbed_run(
    *, container: Container, neo4j_server: Server, workspace: str, other: str, outside: str, held: str, merged: int
) -> None:
    neo4j_server.query(f"CREATE CONSTRAINT FOR (n:`{outside}`) REQUIRE n.key IS UNIQUE")
    for label in (workspace, other):
        chain(neo4j_server, label, outside)
    before = graph_of(neo4j_server, workspace)
    lock = {
        "a node": f"MATCH (n:`{workspace}` {{entity_id: 'E4', created_at: 3}}) SET n.held = true",  # a neighbour of E3
        "a relation": f"MATCH (:`{workspace}` {{entity_id: 'E1', created_at: 3}})-[r]->() SET r.held = true",
        "what is written last": f"CREATE (:`{outside}` {{key: '{workspace}'}})",
    }[held]
    with open_transaction(neo4j_server, lock), started_repair() as process:
        until_somebody_waits(neo4j_server)
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
    left = f"MATCH (n:`{workspace}`) WITH n.entity_id AS name, count(*) AS nodes RETURN name, nodes ORDER BY name"
    assert [row["nodes"] for row in neo4j_server.query(left)] == [1] * merged + [3] * (6 - merged)
    assert [row for row in graph_of(neo4j_server, workspace)[0] if row[1]["number"] > merged] == [
        row for row in before[0] if row[1]["number"] > merged
    ]
    assert constraints(neo4j_server, workspace) == []

    assert [entity.entity for entity in repair(container).merged] == [f"E{n}" for n in range(merged + 1, 7)]
    repair(container, other)
    assert constraints(neo4j_server, workspace) == ONE
    assert neo4j_server.query(f"MATCH (n:`{outside}`) RETURN n.entity_id AS name") == [{"name": "E4"}] * 2
    neo4j_server.query(f"MATCH (n:`{outside}`) REMOVE n.key")
    nodes, relations = graph_of(neo4j_server, workspace)
    assert (nodes, relations) == graph_of(neo4j_server, other)
    assert [(a, b, p["weight"], p["source_id"]) for a, _, b, p in relations] == [
        (f"E{n}", f"E{n + 1}", 3.0, "c1<SEP>c2<SEP>c3") for n in range(1, 6)
    ]
    assert [properties["source_id"] for _, properties in nodes] == ["c1<SEP>c2<SEP>c3"] * 6


@pytest.mark.parametrize("changed", ["node", "new relation", "relation"])
def test_what_a_worker_writes_meanwhile_is_not_lost(
    neo4j_server: Server, workspace: str, outside: str, changed: str
) -> None:
    chain(neo4j_server, workspace, outside)
    query = {
        "node": f"MATCH (x:`{workspace}` {{entity_id: 'E1'}}) WHERE x.source_id CONTAINS 'c3'",
        "new relation": f"MATCH (x:`{workspace}` {{entity_id: 'E1'}}) WHERE x.source_id CONTAINS 'c3' "
        f"CREATE (x)<-[:DIRECTED {{source_id: 'c9', weight: 1.0}}]-(:`{workspace}` {{entity_id: 'New'}})",
        "relation": f"MATCH (:`{workspace}` {{entity_id: 'E1'}})-[x]->() WHERE x.source_id CONTAINS 'c3' "
        "SET x.weight = x.weight + 1",
    }[changed] + " SET x.source_id = x.source_id + '<SEP>c9'"
    written = (
        f"MATCH (x:`{workspace}` {{entity_id: 'E1'}})-[r]-() WHERE x.source_id + r.source_id CONTAINS 'c9' RETURN r"
    )
    auth = (neo4j_server.username, neo4j_server.password)
    with ExitStack() as stack:
        started: list[subprocess.Popen[str]] = []

        def work(transaction: ManagedTransaction) -> bool:
            transaction.run(query).consume()
            if not started:
                started.append(stack.enter_context(started_repair()))
                until_somebody_waits(neo4j_server)
            return bool(transaction.run(written).data())

        # The two get into a deadlock, and it is tried again while the repair goes on. What it finds then may be gone
        # when its lock is free, and Neo4j sets the properties of what is gone without a word.
        with GraphDatabase.driver(neo4j_server.uri, auth=auth) as driver, driver.session() as session:
            assert any(session.execute_write(work) for _ in range(20))
        assert started[0].wait(60) == 0
    nodes, relations = graph_of(neo4j_server, workspace)
    sources = {properties["entity_id"]: properties.get("source_id") for _, properties in nodes}
    found = {(a, b): (p["source_id"], p["weight"]) for a, _, b, p in relations}
    with_c9 = "c1<SEP>c2<SEP>c3<SEP>c9"
    assert sources["E1"] == ("c1<SEP>c2<SEP>c3" if changed == "relation" else with_c9)
    assert found["E1", "E2"] == ((with_c9, 4.0) if changed == "relation" else ("c1<SEP>c2<SEP>c3", 3.0))
    assert found.get(("New", "E1")) == (("c9", 1.0) if changed == "new relation" else None)
    assert constraints(neo4j_server, workspace) == ONE


def test_duplicates_that_keep_coming_end_it_with_what_to_do(
    container: Container, neo4j_server: Server, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def somebody_is_faster(*arguments: Any) -> None:
        neo4j_server.query(f"CREATE (:`{workspace}` {{entity_id: 'A'}})")
        make_constraint(*arguments)

    neo4j_server.query(f"UNWIND [1, 2] AS i CREATE (:`{workspace}` {{entity_id: 'A'}})")
    monkeypatch.setattr("wiring.lightrag.repair.make_constraint", somebody_is_faster)
    with pytest.raises(RepairError, match=rf"^workspace '{workspace}' holds entities twice .* stop its workers"):
        repair(container)
    assert neo4j_server.query(f"MATCH (n:`{workspace}`) RETURN count(n) AS n") == [{"n": 2}]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Container:
    monkeypatch.setattr("wiring.lightrag.repair.TIMEOUT", 1.0)
    monkeypatch.setenv("NEO4J_MAX_TRANSACTION_RETRY_TIME", "1")
    return create_container()


def refusal(server: Server, held: str, container: Container) -> str:
    """What the repair says, in one line, while a transaction does not end that ran ``held``."""
    with open_transaction(server, held), pytest.raises(RepairError) as raised:
        repair(container)
    line = str(raised.value)
    assert "\n" not in line
    return line


def test_an_entity_that_cannot_be_merged_keeps_no_other_back(
    neo4j_server: Server, workspace: str, outside: str, impatient: Container
) -> None:
    chain(neo4j_server, workspace, outside)
    held = f"MATCH (n:`{workspace}` {{entity_id: 'E4'}}) SET n.held = true"  # and its neighbours cannot be, either
    line = refusal(neo4j_server, held, impatient)
    assert line.startswith(f"entity 'E3', and 2 more of workspace '{workspace}' could not be merged, the others were: ")
    assert line.endswith("; see why, then run it again")
    left = (
        f"MATCH (n:`{workspace}`) WITH n.entity_id AS name, count(*) AS nodes WHERE nodes > 1 RETURN name ORDER BY name"
    )
    assert [row["name"] for row in neo4j_server.query(left)] == ["E3", "E4", "E5"]
    assert constraints(neo4j_server, workspace) == []
    assert [merged.entity for merged in repair(impatient).merged] == ["E3", "E4", "E5"]


def test_a_commit_that_waits_for_ever_ends_it_with_one_line_and_leaves_the_containers_driver(
    neo4j_server: Server, workspace: str, outside: str, impatient: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain(neo4j_server, workspace, outside)
    impatient.sync_driver().verify_connectivity()
    # The commit of the merge of E3 waits for this one, which hangs on a neighbour.
    held = f"MATCH (:`{workspace}` {{entity_id: 'E4', created_at: 3}})-[r]->() SET r.held = true"
    monkeypatch.setattr("wiring.lightrag.repair.COMMIT_TIMEOUT", 1.0)
    line = refusal(neo4j_server, held, impatient)
    assert line.startswith(f"the repair of workspace '{workspace}' stopped: ")
    assert line.endswith("; what was merged stays merged, run it again")
    impatient.sync_driver().verify_connectivity()
    impatient.shutdown_resources()
