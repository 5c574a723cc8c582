"""Graphs that hold entities twice, what a graph holds, to be compared, and who waits in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightrag.kg.neo4j_impl import Neo4JStorage
from lightrag.kg.shared_storage import initialize_share_data
from lightrag.operate import _merge_edges_then_upsert, _merge_nodes_then_upsert
from neo4j import GraphDatabase
from neo4j.time import Date

from tests.support.servers import Server
from wiring.lightrag.models import bundled_tokenizer

LIMITS = {"max_source_ids_per_entity": 3, "max_source_ids_per_relation": 3, "max_file_paths": 2}


def whole_graph(server: Server) -> list[list[dict[str, Any]]]:
    """Everything there is on the server, with its ids, and the schema."""
    return [
        server.query("MATCH (n) RETURN elementId(n) AS id, labels(n) AS labels, properties(n) AS p ORDER BY id"),
        server.query(
            "MATCH (a)-[r]->(b) RETURN elementId(r) AS id, type(r) AS type, elementId(a) AS a, elementId(b) AS b, "
            "properties(r) AS p ORDER BY id"
        ),
        server.query("SHOW CONSTRAINTS YIELD name RETURN name ORDER BY name"),
        server.query("SHOW INDEXES YIELD name RETURN name ORDER BY name"),
    ]


def graph_of(server: Server, workspace: str) -> tuple[list[Any], list[Any]]:
    """The nodes of a workspace and all their relations, without ids and without the workspace's name.

    A node is its other labels and its properties; a relation its type, its properties, and which two it connects.
    """
    label = f"`{workspace.replace('`', '``')}`"
    shown = "coalesce({0}.entity_id, head(labels({0})) + toString({0}.key))"
    nodes = server.query(f"MATCH (n:{label}) RETURN labels(n) AS labels, properties(n) AS p")
    relations = server.query(
        f"MATCH (a)-[r]->(b) WHERE a:{label} OR b:{label} RETURN type(r) AS type, properties(r) AS p, "
        f"{shown.format('a')} AS a, {shown.format('b')} AS b"
    )
    return (
        sorted(([sorted(set(row["labels"]) - {workspace}), row["p"]] for row in nodes), key=_by_text),
        sorted(([row["a"], row["type"], row["b"], row["p"]] for row in relations), key=_by_text),
    )


def _by_text(row: list[Any]) -> str:
    return repr([sorted(part.items()) if isinstance(part, dict) else part for part in row])


def until_somebody_waits(server: Server, seconds: float = 90.0) -> None:
    """Until a transaction waits for a lock."""
    deadline = time.monotonic() + seconds
    while not server.query("SHOW TRANSACTIONS YIELD status WHERE status STARTS WITH 'Blocked' RETURN status"):
        assert time.monotonic() < deadline, "nobody waits for a lock"
        time.sleep(0.05)


def entities_with_all_that_may_hang_on_them(server: Server, workspace: str, outside: str) -> None:
    """Entities twice, with all that may hang on them."""
    server.query(
        f"""CREATE (a1:`{workspace}`:`Old \\u005cu0060` {{entity_id: 'A', entity_type: 'UNKNOWN',
            description: 'one<SEP>both', source_id: 'c1<SEP>c2', file_path: 'x.md', created_at: 10,
            truncate: '', mine: [1, 2]}}),
        (a2:`{workspace}`:New {{entity_id: 'A', entity_type: 'person', description: 'both<SEP>two',
            source_id: 'c2<SEP>c3', file_path: 'y.md', created_at: 30, truncate: '', note: 'newest'}}),
        (a3:`{workspace}` {{entity_id: 'A', source_id: 'c4', created_at: 20, note: 'older'}}),
        (b1:`{workspace}` {{entity_id: 'B', created_at: 1}}), (b2:`{workspace}` {{entity_id: 'B', created_at: 2}}),
        (c:`{workspace}` {{entity_id: 'C'}}), (d1:`{outside}` {{key: 1}}), (d2:`{outside}` {{key: 2, entity_id: 'A'}}),
        (a1)-[:DIRECTED {{source_id: 'c1', weight: 1.0, keywords: 'b,a', description: 'ab', file_path: 'x.md',
            created_at: 4, truncate: ''}}]->(b1),
        (b2)-[:DIRECTED {{source_id: 'c1', weight: 1.0, keywords: 'b,a', description: 'ab', file_path: 'x.md',
            created_at: 5, truncate: ''}}]->(a1),
        (a2)-[:DIRECTED {{source_id: 'c3<SEP>c1', weight: 2.5, keywords: 'c', description: 'ab2',
            created_at: 7, mine: 1}}]->(b2),
        (b1)-[:DIRECTED {{source_id: 'c7', weight: 4.0, created_at: 6, mine: 2}}]->(a3),
        (a3)-[:DIRECTED {{source_id: 'manual_creation', weight: '0.5', created_at: 9}}]->(c),
        (c)-[:DIRECTED {{source_id: 'c8<SEP>c9', weight: 0.5, created_at: 8}}]->(a2),
        (a1)-[:DIRECTED {{source_id: 'c5', file_path: 'z.md', weight: 1.0}}]->(a2),
        (a1)-[:DIRECTED {{source_id: 'own', weight: 1.0}}]->(a1), (a2)-[:SAME_AS {{by: 'me'}}]->(a3),
        (a1)-[:KNOWS {{since: date('2020-02-02')}}]->(b1), (a2)<-[:KNOWS {{since: date('2020-02-02')}}]-(b2),
        (d1)-[:MENTIONS {{p: 1}}]->(a1), (d1)-[:MENTIONS {{p: 1}}]->(a2), (d1)-[:MENTIONS {{p: 2}}]->(a3),
        (d1)-[:TWICE]->(a2), (d1)-[:TWICE]->(a2), (d1)-[:TWICE]->(a3),
        (a2)-[:`odd ``type`` é \\u005cu0041`]->(d2), (a3)-[:DIRECTED]->(d2)"""
    )


MADE: tuple[list[Any], list[Any]] = (
    [
        [[], {"entity_id": "B", "created_at": 2}],
        [[], {"entity_id": "C"}],
        [
            ["New", "Old \\u0060"],
            {
                "entity_id": "A", "entity_type": "person", "description": "one<SEP>both<SEP>two", "created_at": 30,
                "source_id": "c1<SEP>c2<SEP>c4<SEP>c3<SEP>c5", "file_path": "x.md<SEP>y.md<SEP>z.md", "truncate": "",
                "mine": [1, 2], "note": "newest",
            },
        ],
    ],
    [
        # Three sources weigh 2.5, with what is in the first two; the fourth adds its own.
        ["A", "DIRECTED", "B", {
            "source_id": "c1<SEP>c7<SEP>c3", "weight": 6.5, "keywords": "a,b,c", "description": "ab<SEP>ab2",
            "created_at": 7, "file_path": "x.md", "truncate": "", "mine": 1,
        }],
        # By hand, and of two sources that weigh 1 each at the least.
        ["C", "DIRECTED", "A", {"source_id": "c8<SEP>c9", "weight": 2.0, "created_at": 9}],
    ],
)  # fmt: skip


def merged_with_all_that_hung_on_them(outside: str) -> tuple[list[Any], list[Any]]:
    since = Date(2020, 2, 2)
    untouched = [
        ["A", "DIRECTED", "A", {"source_id": "own", "weight": 1.0}],
        ["A", "DIRECTED", "A", {}],  # to the node outside, whose name does not make it an entity
        ["A", "KNOWS", "B", {"since": since}],
        ["A", "SAME_AS", "A", {"by": "me"}],
        ["A", "odd `type` é \\u0041", "A", {}],
        ["B", "KNOWS", "A", {"since": since}],
        [f"{outside}1", "MENTIONS", "A", {"p": 1}],
        [f"{outside}1", "MENTIONS", "A", {"p": 2}],
        [f"{outside}1", "TWICE", "A", {}],
        [f"{outside}1", "TWICE", "A", {}],
    ]
    return MADE[0], [*MADE[1], *untouched]


def chain(server: Server, workspace: str, outside: str) -> None:
    """Six entities, each there three times and related to the next; one is more than an entity, when it is whole."""
    server.query(
        f"UNWIND range(1, 6) AS e UNWIND range(1, 3) AS copy CREATE (:`{workspace}` {{entity_id: 'E' + e, number: e, "
        "description: 'e' + e + 'c' + copy, source_id: 'c' + copy, created_at: copy})"
    )
    server.query(
        f"MATCH (a:`{workspace}`), (b:`{workspace}`) WHERE a.number + 1 = b.number CREATE (a)-[:DIRECTED "
        "{source_id: a.source_id, weight: 1.0, description: 'd', keywords: 'k', created_at: a.created_at}]->(b)"
    )
    server.query(f"MATCH (n:`{workspace}` {{entity_id: 'E4', created_at: 2}}) SET n.key = $key", key=workspace)
    server.query(f"MATCH (n:`{workspace}` {{entity_id: 'E4', created_at: 3}}) SET n:`{outside}`")


@contextmanager
def open_transaction(server: Server, query: str) -> Iterator[None]:
    """A transaction of somebody else, which ran ``query`` and holds its locks; it is undone."""
    with (
        GraphDatabase.driver(server.uri, auth=(server.username, server.password)) as driver,
        driver.session() as session,
        session.begin_transaction(timeout=60.0) as transaction,
    ):
        transaction.run(query).consume()
        try:
            yield
        finally:
            transaction.rollback()


Work = Callable[[Neo4JStorage], Any]


def with_upstream(workspace: str, work: Work) -> None:
    """Do something with LightRAG's own storage, which makes no constraint."""

    async def main() -> None:
        initialize_share_data()
        storage = Neo4JStorage("graph", {}, None, workspace=workspace)
        await storage.initialize()
        try:
            await work(storage)
        finally:
            await storage.finalize()

    asyncio.run(main())


async def merge_node(storage: Neo4JStorage, name: str, *found: dict[str, Any]) -> None:
    await _merge_nodes_then_upsert(name, list(found), storage, None, config(), llm_response_cache=None)


async def merge_edge(storage: Neo4JStorage, pair: tuple[str, str], *found: dict[str, Any]) -> None:
    await _merge_edges_then_upsert(*pair, list(found), storage, None, None, config())


def config(**changes: Any) -> dict[str, Any]:
    limits = {"source_ids_limit_method": "KEEP", "file_path_more_placeholder": "truncated", **LIMITS}
    summary = {"summary_context_size": 9000, "summary_max_tokens": 9000, "force_llm_summary_on_merge": 99}
    return {"tokenizer": bundled_tokenizer(), **limits, **summary, **changes}


def extracted(number: int, **more: Any) -> dict[str, Any]:
    """What LightRAG's extraction hands to its merge, from the chunk of that number."""
    base = {
        "source_id": f"chunk{number}",
        "file_path": f"{number}.md",
        "description": f"Said in {number}.",
        "timestamp": 0,
    }
    return base | more
