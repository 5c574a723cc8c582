"""Random graphs, what is done to them, what is asked of them, and which part of an answer is worth comparing.

Two storages that hold the same graph in two workspaces agree up to what Neo4j leaves open: the order of rows that no
query sorts, and the ids it gives to nodes and relationships. ``comparable`` takes away that, and nothing else.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st
from lightrag.base import BaseGraphStorage
from lightrag.kg.neo4j_impl import Neo4JStorage
from tenacity import RetryError

LONG = "A description as long as a model may write it. " * 400
AWKWARD = (
    "", " ", "*", "'", '"', "`", "a`b", "``", "\\", "\\u0041", "$entity_id", "{entity_id: 1}", "a:b AND c~", "tb-1",
    "\n", "\0", "Straße", "STRASSE", "e\u0301", "\u00e9", "知识 图谱", "知识", "🦊", "new\u2028line", "null", "Neo4j",
    "Neo4j Redis",
)  # fmt: skip
SEARCHES = ("neo4j", "redis neo4j", "知识", "tb-", "*", "--", " ", "a`b'", '"', "strasse", "é")

# Errors of the server name the node, and the index that refuses it: upstream's own, or the constraint's.
_NUMBERED = re.compile(r"(?<=Index\( )id=\d+, name='\w+'|(?<=element id: )[\w:-]+")

Node = tuple[str, dict[str, Any]]
Edge = tuple[str, str, dict[str, Any]]


class Call(NamedTuple):
    """One call of a storage's method."""

    method: str
    args: tuple[Any, ...] = ()


class Graph(NamedTuple):
    nodes: list[Node]
    edges: list[Edge]

    @property
    def names(self) -> list[str]:
        """The nodes there are, and two there are not."""
        return [*dict(self.nodes), "missing", "missing too"]


def public_methods() -> set[str]:
    """Every public method of a graph storage, upstream's interface and what its Neo4j storage adds to it."""
    return {
        name
        for kind in (BaseGraphStorage, Neo4JStorage)
        for name, _ in inspect.getmembers(kind, inspect.isroutine)
        if not name.startswith("_")
    }


# Texts that UTF-8 can carry: for others, see the test of errors.
texts = st.sampled_from(AWKWARD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.one_of(
    texts,
    st.just(LONG),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),  # NaN is not equal to itself
    st.booleans(),
)
# Keys stay in the database for ever, so they are a few. LightRAG looks into a property named "labels".
properties = st.fixed_dictionaries(
    {},
    optional={
        "description": texts | st.just(LONG),
        "weight": scalars,
        "labels": texts,
        "a `key`": scalars,
        "ключ": scalars,
    },
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    names = draw(st.lists(texts, min_size=1, max_size=6, unique=True))
    nodes = [(name, draw(properties) | {"entity_id": name}) for name in names]
    ends = st.sampled_from([*names, "missing"])
    return Graph(nodes, draw(st.lists(st.tuples(ends, ends, properties), max_size=8)))


def building(graph: Graph, *, batch: bool) -> list[Call]:
    """The calls that store ``graph``."""
    if batch:
        return [Call("upsert_nodes_batch", (graph.nodes,)), Call("upsert_edges_batch", (graph.edges,))]
    nodes = [Call("upsert_node", node) for node in graph.nodes]
    return [*nodes, *(Call("upsert_edge", edge) for edge in graph.edges)]


def operations(graph: Graph) -> st.SearchStrategy[list[Call]]:
    """Changes of ``graph``, in any order."""
    name = st.sampled_from(graph.names)
    node = name.flatmap(lambda name: st.tuples(st.just(name), properties.map(lambda data: data | {"entity_id": name})))
    pair = st.tuples(name, name)
    edge = st.tuples(name, name, properties)
    changes: dict[str, st.SearchStrategy[tuple[Any, ...]]] = {
        "upsert_node": node,
        "upsert_edge": edge,
        "upsert_nodes_batch": st.tuples(st.lists(node, max_size=3)),
        "upsert_edges_batch": st.tuples(st.lists(edge, max_size=3)),
        "delete_node": st.tuples(name),
        "remove_nodes": st.tuples(st.lists(name, max_size=2)),
        "remove_edges": st.tuples(st.lists(pair, max_size=3)),
        "drop": st.just(()),
        "index_done_callback": st.just(()),
        "drop_pending_index_ops": st.just(()),
    }
    one = [st.builds(Call, st.just(method), args) for method, args in changes.items()]
    return st.lists(st.one_of(one), max_size=10)


def questions(names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> list[Call]:
    """Every method that reads, asked about each of ``names`` and ``pairs``."""
    pairs = list(dict.fromkeys(pairs))
    by_name = ("has_node", "get_node", "node_degree", "get_node_edges")
    by_names = ("get_nodes_batch", "node_degrees_batch", "get_nodes_edges_batch", "has_nodes_batch")
    by_pair = ("has_edge", "get_edge", "edge_degree")
    depths: list[tuple[Any, ...]] = [(), (1,), (2, 3), (0, 0)]
    return [
        *(Call(method, (name,)) for method in by_name for name in names),
        *(Call(method, (some,)) for method in by_names for some in ([*names, *names[:1]], [])),
        *(Call(method, pair) for method in by_pair for pair in pairs),
        *(Call("edge_degrees_batch", (some,)) for some in (pairs, [])),
        *(Call("get_edges_batch", ([{"src": a, "tgt": b} for a, b in some],)) for some in (pairs, [])),
        *(Call(method) for method in ("get_all_labels", "get_all_nodes", "get_all_edges", "get_popular_labels")),
        Call("get_popular_labels", (2,)),
        *(Call("search_labels", (text,)) for text in (*SEARCHES, *names[:2])),
        Call("search_labels", ("neo4j", 1)),
        *(Call("get_knowledge_graph", (name, *depth)) for name in ("*", names[0], names[-1]) for depth in depths),
    ]


def about(graph: Graph) -> list[Call]:
    """Every question about ``graph``: its names, some of its edges in both directions, some that are none."""
    ends = [(source, target) for source, target, _ in graph.edges[:4]]
    none = itertools.islice(itertools.combinations_with_replacement(graph.names, 2), 3)
    return questions(graph.names, [*ends, *((target, source) for source, target in ends), *none])


async def answer(storage: Any, call: Call) -> Any:
    """What ``call`` returns, or what its error says."""
    try:
        return await getattr(storage, call.method)(*call.args)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other storage has to raise it, too
        return told(error)


def told(error: BaseException | None) -> tuple[Any, ...]:
    """Type, code and text of an error, and of the one that was the reason to give up trying again."""
    if isinstance(error, RetryError):
        return (RetryError, *told(error.last_attempt.exception()))
    return (type(error), getattr(error, "code", None), str(error))


def comparable(call: Call, answer: Any, workspace: str) -> Any:
    """``answer`` without what differs between two workspaces that hold the same graph."""
    match call.method, answer:
        case _, (type(), *_):
            answer = [_anonymous(text, workspace) if isinstance(text, str) else text for text in answer]
        case "drop", _:
            answer = {key: _anonymous(text, workspace) for key, text in answer.items()}
        case (("get_all_nodes" | "get_all_edges" | "get_node_edges"), list()):
            answer = sorted(answer, key=exactly)
        case "get_nodes_edges_batch", dict():
            answer = {name: sorted(edges) for name, edges in answer.items()}
        case "search_labels", list():
            # Lucene counts words of deleted nodes until it merges its files, so ranks depend on an index's past.
            answer = len(answer) if len(call.args) > 1 else sorted(answer)
        case "get_knowledge_graph", _:
            answer = _comparable_graph(call.args[0], answer.model_dump())
    return answer


def _anonymous(text: str, workspace: str) -> str:
    return _NUMBERED.sub("", text.replace(workspace, "WORKSPACE"))


def exactly(value: Any) -> str:
    """``value`` as text, in which 1, 1.0 and True differ and the order of a dict or a set does not matter."""
    match value:
        case dict():
            return "{" + ", ".join(sorted(f"{exactly(key)}: {exactly(item)}" for key, item in value.items())) + "}"
        case set():
            return "set(" + ", ".join(sorted(map(exactly, value))) + ")"
        case list() | tuple():
            return f"{type(value).__name__}({', '.join(map(exactly, value))})"
        case _:
            return repr(value)


def _comparable_graph(start: str, graph: dict[str, Any]) -> Any:
    if graph["is_truncated"] and start != "*":
        return len(graph["nodes"])  # which neighbours are within the limit is the order in which Neo4j finds them
    names = {node["id"]: node["labels"][0] for node in graph["nodes"]}
    nodes = [(node["labels"], node["properties"]) for node in graph["nodes"]]
    edges = [
        # An edge is told from the end that was reached first, so its direction means nothing.
        (sorted(names.get(edge[end], edge[end]) for end in ("source", "target")), edge["type"], edge["properties"])
        for edge in graph["edges"]
    ]
    return (
        graph["is_truncated"],
        nodes if start == "*" else sorted(nodes, key=exactly),  # only the whole graph is sorted, by degree
        sorted(edges, key=exactly),
    )
