"""``lightrag-neo4j repair`` on graphs that hold entities twice, made as they come about."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lightrag.kg.neo4j_impl import Neo4JStorage

from app_container import Container, create_container
from tests.support.duplicates import (
    LIMITS,
    entities_with_all_that_may_hang_on_them,
    extracted,
    graph_of,
    merge_edge,
    merge_node,
    merged_with_all_that_hung_on_them,
    whole_graph,
    with_upstream,
)
from tests.support.schema import COMMAND, ONE, constraints, initialize, run
from tests.support.servers import Server
from wiring.lightrag.errors import InvalidDocumentError
from wiring.lightrag.repair import repair
from wiring.lightrag.schema import DuplicateEntitiesError

pytestmark = pytest.mark.usefixtures("environment")

AWKWARD = ("Straße 🦊", "a `b` \"c\" 'd'", "new\nline", "null", "[bold]x")


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
    nodes.sort(key=lambda node: str(node[1]["entity_id"]))  # not by when they were made
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
        # LightRAG takes the node with the lowest number, and Neo4j gives a new node that of one that was deleted.
        neo4j_server.query(
            f"MATCH (old:`{workspace}`), (new:`{workspace}` {{entity_id: old.entity_id}}) "
            "WHERE old.created_at < new.created_at AND id(old) > id(new) "
            "WITH old, new, properties(old) AS first, properties(new) AS second SET new = first, old = second"
        )
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
