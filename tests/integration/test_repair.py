"""``lightrag-neo4j repair`` on graphs that hold entities twice, made as they come about."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from lightrag.kg.neo4j_impl import Neo4JStorage
from neo4j import GraphDatabase, ManagedTransaction

from app_container import Container, create_container
from tests.support.duplicates import (
    LIMITS,
    chain,
    entities_with_all_that_may_hang_on_them,
    extracted,
    graph_of,
    merge_edge,
    merge_node,
    merged_with_all_that_hung_on_them,
    open_transaction,
    until_somebody_waits,
    whole_graph,
    with_upstream,
)
from tests.support.schema import COMMAND, ONE, constraints, initialize, run
from tests.support.servers import Server, forget_workspace
from wiring.lightrag.errors import InvalidDocumentError
from wiring.lightrag.repair import RepairError, repair
from wiring.lightrag.schema import DuplicateEntitiesError, make_constraint

pytestmark = pytest.mark.usefixtures("environment")

AWKWARD = ("Straße 🦊", "a `b` \"c\" 'd'", "new\nline", "null", "[bold]x")


@pytest.fixture
def other(neo4j_server: Server, workspace: str) -> Iterator[str]:
    """Another workspace, with a name that Cypher takes only in backticks."""
    name = f"{workspace}-b"
    yield name
    forget_workspace(neo4j_server, name)


@pytest.fixture
def outside(neo4j_server: Server, workspace: str) -> Iterator[str]:
    """A label of nodes that are in no workspace."""
    yield f"Outside{workspace}"
    forget_workspace(neo4j_server, f"Outside{workspace}")


def repair_command(*arguments: str) -> Any:
    code, shown = run("repair", "--json", *arguments)
    assert code == 0, shown
    return json.loads(shown)


def rows(*merged: tuple[str, int, int]) -> list[dict[str, Any]]:
    return [{"entity": name, "nodes": nodes, "relations_merged": relations} for name, nodes, relations in merged]


def limited(method: str = "KEEP") -> str:
    """The project's configuration with small limits."""
    text = Path(os.environ["APP_CONTAINER_CONFIG"]).read_text()
    options = json.dumps(LIMITS | {"source_ids_limit_method": method})
    Path("limited.yaml").write_text(text.replace("\n  options: {}\n", f"\n  options: {options}\n"))
    return "limited.yaml"


# Two processes, each with its first documents: both find no Ada and no Bob, and make them.
FIRST = {
    "Ada": [extracted(0, entity_type="person"), extracted(1, entity_type="person", description="Said in 0.")],
    "Bob": [extracted(0, entity_type="person"), extracted(1, entity_type="UNKNOWN")],
}
SECOND = {"Ada": [extracted(2, entity_type="organization")], "Bob": [extracted(3, entity_type="person")]}
MET = [extracted(n, keywords=f"k{9 - n},met", weight=1.0) for n in range(2)]


def without_times(server: Server, workspace: str) -> Any:
    nodes, relations = graph_of(server, workspace)
    for properties in [node[1] for node in nodes] + [relation[3] for relation in relations]:
        assert properties.pop("created_at") > 0
    return nodes, [[*sorted((a, b)), kind, properties] for a, kind, b, properties in relations]


def test_merged_entities_are_what_lightrag_makes_one_after_the_other(
    neo4j_server: Server, workspace: str, other: str
) -> None:
    """The same extractions: of processes that raced, repaired; and of one process, in the other workspace."""

    async def work(storage: Neo4JStorage) -> None:
        for found in (FIRST, SECOND):
            for name in found:
                await merge_node(storage, name, *found[name])
            if storage.workspace == workspace:  # the other process does not see them, and is some seconds later
                neo4j_server.query(
                    f"MATCH (n:`{workspace}`) REMOVE n:`{workspace}` "
                    "SET n:Hidden, n.created_at = n.created_at + $seconds",
                    seconds=10 if found is SECOND else 0,
                )
        neo4j_server.query(f"MATCH (n:Hidden) REMOVE n:Hidden SET n:`{workspace}`")
        await merge_edge(storage, ("Ada", "Bob"), MET[0])
        await merge_edge(storage, ("Bob", "Ada"), MET[1])

    with_upstream(workspace, work)
    with_upstream(other, work)
    assert neo4j_server.query(f"MATCH (:`{workspace}`)-[r]->() RETURN count(r) AS n") == [{"n": 4}]
    assert repair_command("--config", limited())["merged"] == rows(("Ada", 2, 3), ("Bob", 2, 0))
    assert without_times(neo4j_server, workspace) == without_times(neo4j_server, other)
    ((_, _, _, relation),) = without_times(neo4j_server, workspace)[1]
    assert (relation["weight"], relation["source_id"], relation["keywords"]) == (2.0, "chunk0<SEP>chunk1", "k8,k9,met")


def by_text(graph: tuple[list[Any], list[Any]]) -> list[list[str]]:
    return [sorted(json.dumps(row, default=str, sort_keys=True) for row in rows) for rows in graph]


def test_everything_that_hangs_on_a_node_is_kept_and_a_dry_run_tells_the_same(
    neo4j_server: Server, workspace: str, outside: str
) -> None:
    entities_with_all_that_may_hang_on_them(neo4j_server, workspace, outside)
    for name in AWKWARD:
        neo4j_server.query(f"UNWIND [1, 2] AS i CREATE (:`{workspace}` {{entity_id: $name, n: i}})", name=name)
    before = whole_graph(neo4j_server)
    dry = repair_command("--dry-run")
    assert whole_graph(neo4j_server) == before
    assert {entry["entity"]: entry for entry in dry["merged"]}.keys() == {"A", "B", *AWKWARD}
    assert [entry for entry in dry["merged"] if entry["entity"] in "AB"] == rows(("A", 3, 7), ("B", 2, 0))
    assert (dry["workspace"], dry["dry_run"]) == (workspace, True)
    assert (dry["nodes_removed"], dry["relations_removed"]) == (3 + len(AWKWARD), 7)

    assert repair_command() == dry | {"dry_run": False}
    assert constraints(neo4j_server, workspace) == ONE
    neo4j_server.query(f"MATCH (n:`{workspace}`) WHERE n.entity_id IN $names DETACH DELETE n", names=AWKWARD)
    assert by_text(graph_of(neo4j_server, workspace)) == by_text(merged_with_all_that_hung_on_them(outside))
    assert neo4j_server.query(f"MATCH (n:`{outside}`) RETURN count(n) AS n") == [{"n": 2}]
    neo4j_server.until_no_connection_is_left()


@pytest.mark.parametrize(
    ("method", "kept"),
    [
        ("KEEP", ("c1<SEP>c2<SEP>c3", "1.md<SEP>2.md<SEP>...truncated...(KEEP Old)", "KEEP Old")),
        ("FIFO", ("c2<SEP>c3<SEP>c4", "2.md<SEP>3.md<SEP>...truncated...(FIFO)", "FIFO 3/4")),
    ],
)
def test_lightrags_limits_hold(neo4j_server: Server, workspace: str, method: str, kept: tuple[str, str, str]) -> None:
    first = {"source_id": "c1<SEP>c2", "file_path": "1.md<SEP>2.md", "truncate": "", "created_at": 1}
    second = {"source_id": "c2<SEP>c3<SEP>c4", "file_path": "2.md<SEP>3.md", "truncate": "", "created_at": 2}
    neo4j_server.query(
        f"MERGE (c:`{workspace}` {{entity_id: 'C'}}) WITH c UNWIND $copies AS copy "
        f"CREATE (n:`{workspace}` {{entity_id: 'A'}})-[r:DIRECTED]->(c) SET n += copy, r += copy",
        copies=[first, second],
    )
    limited_container = create_container(limited(method))
    repair(limited_container)
    limited_container.shutdown_resources()
    properties = dict(zip(("source_id", "file_path", "truncate"), kept, strict=True)) | {"created_at": 2}
    nodes, relations = graph_of(neo4j_server, workspace)
    assert nodes == [[[], {"entity_id": "A"} | properties], [[], {"entity_id": "C"}]]
    assert relations == [["A", "DIRECTED", "C", properties | {"weight": 3.0}]]


def test_another_workspace_is_repaired_by_the_command_its_refusal_names(
    container: Container, neo4j_server: Server, workspace: str, other: str
) -> None:
    for label in (workspace, other):
        neo4j_server.query(
            f"UNWIND [1, 2] AS t CREATE (:`{label}` {{entity_id: 'A', created_at: t, description: 'd' + t}})"
        )
    with pytest.raises(DuplicateEntitiesError) as refusal:
        initialize(container, other)
    command = str(refusal.value).rpartition("; merge them: ")[2]
    shell = ["/bin/sh", "-c", f'PATH="{Path(COMMAND).parent}:$PATH"; COLUMNS=80 {command}']
    done = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=True)
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["entity", "nodes", "relations", "merged"],
        ["A", "2", "0"],
        ["entities", "merged:", "1,", "nodes", "removed:", "1,", "relations", "removed:", "0"],
    ]

    initialize(container, other)
    from wiring.lightrag.storages import Neo4JHybridStorage

    async def read() -> Any:
        storage = Neo4JHybridStorage("graph", {}, None, workspace=other)
        await storage.initialize()
        return await storage.get_node("A")

    assert container.worker_loop().run(read(), timeout=60) == {
        "entity_id": "A",
        "created_at": 2,
        "description": "d1<SEP>d2",
    }
    assert neo4j_server.query(f"MATCH (n:`{workspace}`) RETURN count(n) AS n") == [{"n": 2}]


def test_nothing_to_do(container: Container, neo4j_server: Server, workspace: str, other: str) -> None:
    neo4j_server.query(f"CREATE (:`{workspace}` {{entity_id: 'A'}})")
    assert run("repair") == (0, f"nothing to do: workspace '{workspace}' holds no entity twice\n")
    assert constraints(neo4j_server, workspace) == ONE
    # A name that was mistyped leaves no constraint behind.
    assert repair(container, other).merged == []
    assert constraints(neo4j_server, other) == []
    for impossible in ("../x", " "):
        with pytest.raises(InvalidDocumentError, match="is not a name"):
            repair(container, impossible)


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
    auth = (neo4j_server.username, neo4j_server.password)
    with ExitStack() as stack:
        started: list[subprocess.Popen[str]] = []

        def work(transaction: ManagedTransaction) -> None:
            transaction.run(query).consume()
            if not started:  # it is tried again when the two got into a deadlock
                started.append(stack.enter_context(started_repair()))
                until_somebody_waits(neo4j_server)

        with GraphDatabase.driver(neo4j_server.uri, auth=auth) as driver, driver.session() as session:
            session.execute_write(work)
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


def test_an_entity_that_cannot_be_merged_keeps_no_other_back(
    neo4j_server: Server, workspace: str, outside: str, impatient: Container
) -> None:
    chain(neo4j_server, workspace, outside)
    held = f"MATCH (n:`{workspace}` {{entity_id: 'E4'}}) SET n.held = true"  # and its neighbours cannot be, either
    with open_transaction(neo4j_server, held), pytest.raises(RepairError) as raised:
        repair(impatient)
    line = str(raised.value)
    assert line.startswith(f"entity 'E3', and 2 more of workspace '{workspace}' could not be merged, the others were: ")
    assert line.endswith("; see why, then run it again")
    assert "\n" not in line
    left = (
        f"MATCH (n:`{workspace}`) WITH n.entity_id AS name, count(*) AS nodes WHERE nodes > 1 RETURN name ORDER BY name"
    )
    assert [row["name"] for row in neo4j_server.query(left)] == ["E3", "E4", "E5"]
    assert constraints(neo4j_server, workspace) == []
    assert [merged.entity for merged in repair(impatient).merged] == ["E3", "E4", "E5"]


def test_a_commit_that_waits_for_ever_ends_it_with_one_line_and_leaves_the_containers_driver(
    neo4j_server: Server, workspace: str, outside: str, impatient: Container
) -> None:
    chain(neo4j_server, workspace, outside)
    impatient.sync_driver().verify_connectivity()
    # The commit of the merge of E3 waits for this one, which hangs on a neighbour.
    held = f"MATCH (:`{workspace}` {{entity_id: 'E4', created_at: 3}})-[r]->() SET r.held = true"
    with open_transaction(neo4j_server, held), pytest.raises(RepairError) as raised:
        repair(impatient)
    line = str(raised.value)
    assert line.startswith(f"the repair of workspace '{workspace}' stopped: ")
    assert line.endswith("; what was merged stays merged, run it again")
    assert "\n" not in line
    impatient.sync_driver().verify_connectivity()
    impatient.shutdown_resources()


def test_names_of_another_type_are_other_entities(container: Container, neo4j_server: Server, workspace: str) -> None:
    neo4j_server.query(
        f"CREATE (a:`{workspace}` {{entity_id: 'A'}}), (b:`{workspace}` {{entity_id: 'A'}}), "
        f"(one:`{workspace}` {{entity_id: 1}}), (text:`{workspace}` {{entity_id: '1'}}), "
        f"(list:`{workspace}` {{entity_id: [1, 2]}}), "
        "(a)-[:DIRECTED {source_id: 'c1'}]->(one), (b)-[:DIRECTED {source_id: 'c2'}]->(text), (b)-[:DIRECTED]->(list)"
    )
    assert [merged.entity for merged in repair(container).merged] == ["A"]
    _, relations = graph_of(neo4j_server, workspace)
    found = sorted((repr(b), properties.get("source_id")) for _, _, b, properties in relations)
    assert found == [("'1'", "c2"), ("1", "c1"), ("[1, 2]", None)]


def test_a_server_that_is_down_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_URI", "bolt://127.0.0.1:1")
    code, line = run("repair")
    assert (code, line.count("\n")) == (1, 1)
    assert line.startswith("Neo4j at bolt://127.0.0.1:1 does not answer: ")
