"""The transaction that makes the nodes of one entity one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wiring.lightrag.merge_rules import MergeRules, Properties
from wiring.lightrag.schema import quoted

if TYPE_CHECKING:
    from neo4j import ManagedTransaction

PAGE = 500
"""Names, or pairs of nodes, that are read and written at once."""

_RELATION = "DIRECTED"  # the only type that LightRAG makes


@dataclass(frozen=True, slots=True)
class Merged:
    """One entity: how many nodes became one, and how many relations became part of others."""

    entity: str
    nodes: int
    relations_merged: int


@dataclass(frozen=True, slots=True)
class _Relation:
    id: str
    type: str
    start: str
    end: str
    other: Any  # the name of the entity at the other end; None if that is no entity of the workspace

    @property
    def is_lightrags(self) -> bool:
        return self.type == _RELATION and self.other is not None


class EntityMerge:
    """The transaction that makes the nodes of one entity one. Run again, it finds nothing to do."""

    def __init__(self, transaction: ManagedTransaction, label: str, name: Any, rules: MergeRules) -> None:
        self._transaction = transaction
        self._label = label
        self._name = name
        self._rules = rules
        self._ids: set[str] = set()
        self._kept = ""

    def run(self, counted: set[str]) -> Merged | None:
        """Merge; relations to entities of ``counted`` were counted with these, and are not again."""
        copies = f"MATCH (n:{quoted(self._label)} {{entity_id: $name}})"
        # Setting nothing takes the lock and leaves no trace. The neighbours' as well: left alone, the server takes them
        # with the commit, which cannot time out. In a deadlock with a worker, either tries again.
        self._query(
            f"{copies} OPTIONAL MATCH (n)--(m) UNWIND [n, m] AS node WITH node WHERE node IS NOT NULL {_lock('node')}"
        )
        nodes = self._query(f"{copies} RETURN elementId(n) AS id, labels(n) AS labels, properties(n) AS properties")
        if len(nodes) < 2:  # noqa: PLR2004 - one is as it should be
            return None
        nodes.sort(key=lambda node: _age(node["properties"], node["id"]))
        self._ids = {node["id"] for node in nodes}
        self._kept = min(self._ids, key=_in_order)

        dropped, groups = self._relations()
        count = len(dropped) + sum(
            self._move(groups[start : start + PAGE], counted) for start in range(0, len(groups), PAGE)
        )
        found = self._properties_of(dropped)
        dropped.sort(key=lambda relation: _age(found[relation.id], relation.id))
        sources = [{key: found[relation.id].get(key) for key in ("source_id", "file_path")} for relation in dropped]
        self._delete(dropped)
        # Not DETACH: a relation that was made meanwhile must stop this instead of being lost. And before the rest, for
        # the labels and properties may be under constraints of their own.
        self._query("MATCH (n) WHERE elementId(n) IN $ids DELETE n", ids=sorted(self._ids - {self._kept}))
        labels = "".join(f":{quoted(label)}" for label in sorted({label for node in nodes for label in node["labels"]}))
        properties = self._rules.node([node["properties"] for node in nodes], sources)
        self._query(f"MATCH (n) WHERE elementId(n) = $to SET n += $set SET n{labels}", to=self._kept, set=properties)
        return Merged(str(self._name), len(nodes), count)

    def _relations(self) -> tuple[list[_Relation], list[list[_Relation]]]:
        """Lock all relations; those to drop, and those that will connect the same, without what is in them."""
        match = "MATCH (n)-[r]-(m) WHERE elementId(n) IN $ids"
        ids = sorted(self._ids)
        self._query(f"{match} {_lock('r')}", ids=ids)
        rows = self._query(
            f"{match} RETURN DISTINCT elementId(r) AS id, type(r) AS type, elementId(startNode(r)) AS start, "
            f"elementId(endNode(r)) AS end, CASE WHEN m:{quoted(self._label)} THEN m.entity_id END AS other",
            ids=ids,
        )
        dropped, groups = [], defaultdict(list)
        for relation in (_Relation(**row) for row in rows):
            outside = {relation.start, relation.end} - self._ids
            if relation.type == _RELATION and not outside and relation.start != relation.end:
                dropped.append(relation)
                continue
            # 1 and '1' are two names, and a name may be a list.
            named = relation.other is not None
            other_end = ("entity", type(relation.other), repr(relation.other)) if named else ("node", *outside)
            outgoing = relation.is_lightrags or relation.start in self._ids
            groups[relation.type, other_end, outgoing].append(relation)
        return dropped, list(groups.values())

    def _move(self, groups: list[list[_Relation]], counted: set[str]) -> int:
        """Give them to the node that stays; returns how many became part of others."""
        found = self._properties_of(relation for group in groups if len(group) > 1 for relation in group)
        moved: dict[str, list[Properties]] = defaultdict(list)
        gone: list[_Relation] = []
        count = 0
        for group in groups:
            group.sort(key=lambda relation: _age(found.get(relation.id, {}), relation.id))
            keep, changes = group[:1], Properties()
            if len(group) > 1 and group[0].is_lightrags:
                changes = self._rules.relation([found[relation.id] for relation in group])
            elif len(group) > 1:
                keep = _distinct(group, found)
            # Of a neighbour that is there twice as well, either node will do; its own turn comes.
            ends = {end for relation in group for end in (relation.start, relation.end)} - self._ids
            other_end = min(ends, key=_in_order, default=self._kept)
            for relation in keep:
                start, end = (self._kept if end in self._ids else other_end for end in (relation.start, relation.end))
                if changes or (start, end) != (relation.start, relation.end):
                    row = {"id": relation.id, "start": start, "end": end, "changes": changes}
                    moved[relation.type].append(row)
            gone += [relation for relation in group if relation not in keep]
            count += 0 if str(group[0].other) in counted else len(group) - len(keep)
        self._delete(gone)
        for kind, rows in moved.items():
            self._query(
                "UNWIND $rows AS row MATCH (a) WHERE elementId(a) = row.start MATCH (b) WHERE elementId(b) = row.end "
                "MATCH ()-[old]->() WHERE elementId(old) = row.id WITH row, a, b, old, properties(old) AS properties "
                f"DELETE old CREATE (a)-[new:{quoted(kind)}]->(b) SET new = properties SET new += row.changes",
                rows=rows,
            )
        return count

    def _properties_of(self, relations: Iterable[_Relation]) -> dict[str, Properties]:
        query = "MATCH ()-[r]->() WHERE elementId(r) IN $ids RETURN elementId(r) AS id, properties(r) AS properties"
        rows = self._query(query, ids=[relation.id for relation in relations])
        return {row["id"]: row["properties"] for row in rows}

    def _delete(self, relations: Iterable[_Relation]) -> None:
        self._query("MATCH ()-[r]->() WHERE elementId(r) IN $ids DELETE r", ids=[relation.id for relation in relations])

    def _query(self, query: str, **parameters: Any) -> list[Properties]:
        return self._transaction.run(query, parameters | {"name": self._name}).data()


def _lock(variable: str) -> str:
    """Take locks in one order, so that two repairs do not wait for each other."""
    return (
        f"WITH DISTINCT {variable} ORDER BY size(elementId({variable})), elementId({variable}) SET {variable} += {{}}"
    )


def _in_order(element_id: str) -> tuple[int, str]:
    return len(element_id), element_id


def _age(properties: Properties, element_id: str) -> tuple[float, int, str]:
    """Sorts the oldest first, and those of the same second always the same way."""
    created = properties.get("created_at")
    return (created if isinstance(created, int | float) else 0, *_in_order(element_id))


def _distinct(relations: list[_Relation], found: dict[str, Properties]) -> list[_Relation]:
    """Without copies, which are identical and connect other nodes; twice between the same two was meant so."""
    kept: dict[tuple[str, int], _Relation] = {}
    times: Counter[tuple[str, str, str]] = Counter()
    for relation in relations:
        content = repr(sorted(found[relation.id].items()))
        place = (relation.start, relation.end, content)
        kept.setdefault((content, times[place]), relation)
        times[place] += 1
    return list(kept.values())
