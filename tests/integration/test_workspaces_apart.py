"""Two workspaces never see each other, however much their names look alike."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from lightrag.kg.neo4j_impl import Neo4JStorage
from lightrag.kg.shared_storage import initialize_share_data

from app_container import Container
from tests.support.graphs import Call, Graph, about, answer, building, exactly
from tests.support.servers import Server, until_searchable
from wiring.lightrag import GRAPH_STORAGES, fulltext, register_storages

Run = Callable[[Coroutine[Any, Any, Any]], Any]

# LightRAG gives one name to the full-text indexes of the first four, and of the last two.
ALIKE = ("{}_b", "{}-b", "{}.b", "_{}-b", "{}", "{}b", "{}B", "9{}", "ws_9{}")


@pytest.fixture
def names(neo4j_server: Server, workspace: str) -> Iterator[list[str]]:
    """Workspaces whose names are easily confused."""
    alike = [pattern.format(workspace) for pattern in ALIKE]
    yield alike
    for name in alike:
        neo4j_server.forget_workspace(name)


@pytest.fixture
def run(container: Container) -> Run:
    register_storages(container)
    initialize_share_data()
    return lambda work: container.worker_loop().run(work, timeout=60)


def storage(kind: str, workspace: str) -> Any:
    from wiring.lightrag import storages

    made: Neo4JStorage = getattr(storages, kind)("neo4j", {}, None, workspace=workspace)
    return made


async def initialize_upstream(workspace: str) -> None:
    """What is there when LightRAG's own storage was used before."""
    before = Neo4JStorage("neo4j", {}, None, workspace=workspace)
    await before.initialize()
    await before.finalize()


def fulltext_indexes(server: Server, workspace: str) -> list[str]:
    query = "SHOW FULLTEXT INDEXES YIELD name, labelsOrTypes WHERE labelsOrTypes = [$label] RETURN name ORDER BY name"
    return [row["name"] for row in server.query(query, label=workspace)]


def graph_of(mark: str) -> Graph:
    """The same names in each workspace, so that whatever is confused is found, and the mark in every value."""
    names = ["shared", f"only {mark} apple", f"only {mark} pear"]
    nodes = [(name, {"entity_id": name, "description": mark}) for name in names]
    return Graph(nodes, [(names[0], name, {"description": mark}) for name in names])


def searching(mark: str) -> list[Call]:
    # The words in an order in which only a full-text index finds them.
    return [Call("search_labels", (text,)) for text in (f"apple {mark}", "pear only", "shared", "only", mark)]


def test_no_method_shows_another_workspace(
    neo4j_server: Server, names: list[str], run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    marks = {name: f"mark{number:02}" for number, name in enumerate(names)}
    graphs = {name: graph_of(mark) for name, mark in marks.items()}
    storages = {name: {kind: storage(kind, name) for kind in GRAPH_STORAGES} for name in names}
    # Each of the three makes and drops some of the workspaces, and all of them are asked.
    makers = {name: [*storages[name].values()][number % 3] for number, name in enumerate(names)}

    async def initialize() -> None:
        await asyncio.gather(*(one.initialize() for same in storages.values() for one in same.values()))

    def seen(made: Any) -> set[str]:
        name = made.workspace
        asked = [*about(graphs[name]), *searching(marks[name])]
        return set(re.findall(r"mark\d\d", run(ask(made, asked))))

    run(initialize())
    for name, made in makers.items():
        run(ask(made, building(graphs[name], batch=True)))
    until_searchable(neo4j_server)
    for name, mark in marks.items():
        for kind, made in storages[name].items():
            assert seen(made) == {mark}, (name, kind)
            assert run(made.search_labels(f"pear {mark}")) == [f"only {mark} pear", f"only {mark} apple"], (name, kind)
    assert "Full-text search failed" not in caplog.text

    for number, (name, made) in enumerate(makers.items()):
        schema = schema_of(neo4j_server, name)
        assert run(made.drop())["status"] == "success"
        assert nodes_of(neo4j_server, names) == dict.fromkeys(names[number + 1 :], 3)
        assert schema_of(neo4j_server, name) == schema

    first = makers[names[0]]
    run(ask(first, building(graphs[names[0]], batch=False)))
    until_searchable(neo4j_server)
    assert seen(first) == {marks[names[0]]}
    assert nodes_of(neo4j_server, names) == {names[0]: 3}


async def ask(made: Any, calls: list[Call]) -> str:
    return exactly([await answer(made, call) for call in calls])


def nodes_of(server: Server, names: list[str]) -> dict[str, int]:
    query = "MATCH (n) UNWIND labels(n) AS name WITH name WHERE name IN $names RETURN name, count(*) AS nodes"
    return {row["name"]: row["nodes"] for row in server.query(query, names=names)}


def schema_of(server: Server, name: str) -> list[str]:
    query = "SHOW INDEXES YIELD name, type, labelsOrTypes, owningConstraint WHERE labelsOrTypes = [$name] RETURN *"
    return sorted(map(exactly, server.query(query, name=name)))


def search(run: Run, server: Server, made: Any) -> list[str]:
    """Search for words in an order in which only a full-text index finds them."""
    run(made.initialize())
    run(made.upsert_node("apple pear", {"entity_id": "apple pear"}))
    until_searchable(server)
    found: list[str] = run(made.search_labels("pear apple"))
    return found


@pytest.mark.parametrize("number", [0, 1])
def test_an_index_that_is_there_is_kept_whatever_its_name(
    neo4j_server: Server, run: Run, names: list[str], number: int
) -> None:
    name = names[number]
    run(initialize_upstream(name))
    before = fulltext_indexes(neo4j_server, name)
    assert before == [Neo4JStorage("neo4j", {}, None, workspace=name)._get_fulltext_index_name(name)]
    assert search(run, neo4j_server, storage("Neo4JHybridStorage", name)) == ["apple pear"]
    assert fulltext_indexes(neo4j_server, name) == before


def test_a_name_that_another_workspace_took_is_not_its_index(neo4j_server: Server, run: Run, names: list[str]) -> None:
    plain, other, *_ = names
    run(initialize_upstream(other))
    taken = fulltext_indexes(neo4j_server, other)
    assert search(run, neo4j_server, storage("Neo4JHybridStorage", plain)) == ["apple pear"]
    assert fulltext_indexes(neo4j_server, other) == taken == [f"entity_id_fulltext_idx_{plain}"]


def test_a_name_that_is_taken_just_now_is_not_its_index(
    neo4j_server: Server, run: Run, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wiring.lightrag import storages

    plain, other, *_ = names
    taken: list[bool] = []

    async def is_taken(driver: Any, database: str | None, name: str) -> bool:
        taken.append(await fulltext.is_taken(driver, database, name))
        if not taken[-1]:
            neo4j_server.query(f"CREATE FULLTEXT INDEX `{name}` FOR (n:`{other}`) ON EACH [n.entity_id]")
        return taken[-1]

    monkeypatch.setattr(storages, "is_taken", is_taken)
    assert search(run, neo4j_server, storage("Neo4JHybridStorage", plain)) == ["apple pear"]
    assert taken == [False, True]


def test_lightrags_name_is_kept_where_it_can_be_no_other_workspaces(
    neo4j_server: Server, run: Run, names: list[str]
) -> None:
    plain, other, *_ = names
    for name in (other, plain):
        run(storage("Neo4JHybridStorage", name).initialize())
    assert fulltext_indexes(neo4j_server, plain) == [f"entity_id_fulltext_idx_{plain}"]
    (own,) = fulltext_indexes(neo4j_server, other)
    assert re.fullmatch(rf"entity_id_fulltext_idx_{plain}_[0-9a-f]{{12}}_", own)


def test_several_at_once_make_one_index_each(neo4j_server: Server, run: Run, names: list[str]) -> None:
    """As processes do it, between which LightRAG's own lock is not."""

    async def main() -> None:
        made = [storage("Neo4JAsyncStorage", name) for name in names[:4] for _ in range(3)]
        for one in made:
            await one.initialize()
        for name in names[:4]:
            for index in fulltext_indexes(neo4j_server, name):
                neo4j_server.query(f"DROP INDEX `{index}`")
        await asyncio.gather(
            *(one._create_fulltext_index(one._driver, one._DATABASE, one._get_workspace_label()) for one in made)
        )
        indexes = {name: fulltext_indexes(neo4j_server, name) for name in names[:4]}
        for one in made:
            assert indexes[one.workspace] == [one._get_fulltext_index_name(one._get_workspace_label())]

    run(main())
