"""Whether two graphs that were made of the same documents are the same."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.servers import Server

Key = str | tuple[str, str]
"""An entity's name, or those of the two that a relation connects, sorted: LightRAG's relations have no direction."""


@dataclass(frozen=True)
class Found:
    """What the documents said about an entity or a relation."""

    sources: frozenset[str]
    files: frozenset[str]
    sentences: frozenset[str]
    weight: float | None


@dataclass(frozen=True)
class Graph:
    things: dict[Key, Found]
    twice: list[Key]
    """What is there more than once."""

    @property
    def sources(self) -> dict[Key, frozenset[str]]:
        return {key: found.sources for key, found in self.things.items()}

    def differences(self, other: Graph) -> dict[str, dict[Key, Any]]:
        """By what it is, where this graph differs from ``other``: what is here and what is there."""
        mine, others = self.things, other.things
        differences: dict[str, dict[Key, Any]] = {
            what: {
                key: _apart(here, there)
                for key in mine.keys() & others
                if (here := getattr(mine[key], what)) != (there := getattr(others[key], what))
            }
            for what in ("sources", "files", "sentences", "weight")
        }
        missing = dict.fromkeys(others.keys() - mine, "missing")
        return differences | {"missing": missing, "too many": dict.fromkeys(mine.keys() - others, "too many")}


def _apart(here: Any, there: Any) -> dict[str, Any]:
    if isinstance(here, frozenset):
        return {"too many": sorted(here - there), "missing": sorted(there - here)}
    return {"here": here, "there": there}


def read_graph(server: Server, workspace: str) -> Graph:
    things: list[tuple[Key, Found]] = [
        (row["name"], _found(row["p"]))
        for row in server.query(f"MATCH (n:`{workspace}`) RETURN n.entity_id AS name, properties(n) AS p")
    ]
    for row in server.query(
        f"MATCH (a:`{workspace}`)-[r]->(b:`{workspace}`) RETURN a.entity_id AS a, b.entity_id AS b, properties(r) AS p"
    ):
        one, two = sorted((row["a"], row["b"]))
        things.append(((one, two), _found(row["p"])))
    count = Counter(key for key, _ in things)
    return Graph(dict(things), sorted((key for key, times in count.items() if times > 1), key=str))


def size(server: Server, workspace: str) -> dict[str, int]:
    """How many entities and relations there are; a graph of nearly nothing would prove nothing."""
    (row,) = server.query(f"MATCH (n:`{workspace}`) RETURN count(n) AS entities, sum(COUNT {{(n)-->()}}) AS relations")
    assert row["entities"] >= 4
    assert row["relations"] >= 2
    return row


def vectors_in_files(folder: Path) -> dict[Key, frozenset[str]]:
    """The sources of each entity and relation that can be searched for, in a workspace's files of vectors."""
    return _sources([row for name in ("entities", "relationships") for row in _rows(folder / f"vdb_{name}.json")])


def vectors_in_neo4j(server: Server, workspace: str) -> dict[Key, frozenset[str]]:
    """The same, of those that Neo4j keeps."""
    query = "MATCH (n:`{}/{}`) RETURN n {{.*, embedding: null}} AS row"
    kinds = ("entities", "relationships")
    return _sources([found["row"] for kind in kinds for found in server.query(query.format(workspace, kind))])


def _sources(rows: list[dict[str, Any]]) -> dict[Key, frozenset[str]]:
    return {_key(row): _parts(row, "source_id") for row in rows}


def _rows(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(file.read_text())["data"]
    return rows


def _key(row: dict[str, Any]) -> Key:
    if "entity_name" in row:
        return str(row["entity_name"])
    one, two = sorted((row["src_id"], row["tgt_id"]))
    return one, two


def _parts(properties: dict[str, Any], name: str) -> frozenset[str]:
    return frozenset(properties.get(name, "").split("<SEP>"))


def _found(properties: dict[str, Any]) -> Found:
    # A model that summarises joins what was said, so descriptions are compared by the sentence.
    sentences = re.split(r"<SEP>|(?<=\.)\s+", properties.get("description", ""))
    return Found(
        _parts(properties, "source_id"), _parts(properties, "file_path"), frozenset(sentences), properties.get("weight")
    )
