"""The storages of this project answer exactly as LightRAG's own does, whatever the graph and whatever is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest.mock import MagicMock

import neo4j
import neo4j.exceptions
import pytest
from celery import Celery
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lightrag.kg.neo4j_impl import Neo4JStorage
from lightrag.kg.shared_storage import initialize_share_data
from tenacity import RetryError, wait_none

from app_container import Container
from app_container.bridge import BridgedDriver, BridgedResult
from tests.support import graphs
from tests.support.graphs import LONG, Call, Graph, about, answer, building, comparable, exactly, public_methods
from tests.support.servers import Server, until_searchable

Run = Callable[[Coroutine[Any, Any, Any]], Any]

# The same examples in every run, on the same storages: an index costs half a second. They are small enough to be read
# as they are; making one smaller takes minutes.
EXAMPLES = settings(
    deadline=None, derandomize=True, print_blob=True, database=None, max_examples=10, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A storage, and the place where its coroutines run."""

    storage: Any
    run: Run
    driver: type

    def ask(self, calls: list[Call]) -> list[Any]:
        async def work() -> list[Any]:
            return [await answer(self.storage, call) for call in calls]

        answers: list[Any] = self.run(work())
        return answers

    def ask_comparable(self, calls: list[Call]) -> list[str]:
        """The answers, without what differs from workspace to workspace."""
        name = self.storage.workspace
        return [exactly(comparable(*both, name)) for both in zip(calls, self.ask(calls), strict=True)]


Subjects = dict[str, Subject]
MakeSubjects = Callable[[Callable[[str], str]], Subjects]


@pytest.fixture
def make_subjects(
    container: Container, neo4j_server: Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeSubjects]:
    """Makes upstream's storage and each form of ours; afterwards no connection of theirs is left."""
    from wiring.lightrag.storages import Neo4JAsyncStorage, Neo4JHybridStorage, Neo4JSyncStorage

    container.wire(modules=["wiring.lightrag.storages"])
    initialize_share_data()
    for name in public_methods():  # upstream tries again after four seconds, also what cannot succeed
        if retry := getattr(getattr(Neo4JStorage, name), "retry", None):
            monkeypatch.setattr(retry, "wait", wait_none())
    made: list[Subject] = []

    with asyncio.Runner() as runner, ExitStack() as closing:

        def make(workspace_of: Callable[[str], str]) -> Subjects:
            own, lasting, passing = runner.run, container.worker_loop().run, in_celery_task()
            forms: dict[str, tuple[type[Neo4JStorage], Run, type]] = {
                "upstream": (Neo4JStorage, own, neo4j.AsyncDriver),
                "sync": (Neo4JSyncStorage, own, BridgedDriver),
                "async": (Neo4JAsyncStorage, lasting, neo4j.AsyncDriver),
                "hybrid on a loop that lasts": (Neo4JHybridStorage, own, neo4j.AsyncDriver),
                "hybrid in a task": (Neo4JHybridStorage, passing, BridgedDriver),
            }
            subjects = {}
            for form, (kind, run, driver) in forms.items():
                storage = kind("neo4j", {}, None, workspace=workspace_of(form))
                closing.callback(neo4j_server.forget_workspace, storage.workspace)
                run(storage.initialize())
                subjects[form] = Subject(storage, run, driver)
            made.extend(subjects.values())
            neo4j_server.query("CALL db.awaitIndexes(60)")
            return subjects

        yield make
        for subject in made:
            subject.run(subject.storage.finalize())
    container.shutdown_resources()
    neo4j_server.until_no_connection_is_left()


def in_celery_task() -> Run:
    """Runs a coroutine as a Celery task would: on a loop that passes with the task."""
    app = Celery(broker="memory://", backend="cache+memory://", set_as_current=False)

    @app.task(name="run", shared=False)
    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(work)

    return lambda work: run.apply(args=(work,)).get()


@pytest.fixture
def apart(make_subjects: MakeSubjects, workspace: str) -> Subjects:
    """Each storage on a workspace of its own; the names have one length, for errors tell positions in a query."""
    suffix = iter("abcdefgh")
    return make_subjects(lambda _: f"{workspace}_{next(suffix)}")


@pytest.fixture
def together(make_subjects: MakeSubjects, workspace: str) -> Subjects:
    """All storages on one workspace."""
    return make_subjects(lambda _: workspace)


def empty(server: Server, subjects: Subjects) -> None:
    for workspace in {subject.storage.workspace for subject in subjects.values()}:
        server.query(f"MATCH (n:`{workspace}`) DETACH DELETE n")


def assert_agree(answers: dict[str, list[Any]], calls: list[Call]) -> None:
    for form, ours in answers.items():
        for call, our, their in zip(calls, ours, answers["upstream"], strict=True):
            assert our == their, f"{form}: {call}"


def test_each_form_uses_the_driver_it_is_compared_for(together: Subjects) -> None:
    async def driver(storage: Any) -> Any:
        return getattr(storage._driver, "_driver", storage._driver)

    for form, subject in together.items():
        assert isinstance(subject.run(driver(subject.storage)), subject.driver), form


LATE_ERROR = "UNWIND [1, 2, 0] AS n RETURN 6 / n AS n"
RESULTS = ("RETURN 1 AS n LIMIT 0", "RETURN 1 AS n", "UNWIND [1, 2, 3] AS n RETURN n", LATE_ERROR)
READS = st.sampled_from(
    [*(Call("fetch", (n,)) for n in range(5)), Call("single"), Call("single", (True,)), Call("data"), Call("__anext__")]
)


@settings(EXAMPLES, max_examples=200)
@given(query=st.sampled_from(RESULTS), reads=st.lists(READS, max_size=3))
def test_a_result_is_read_in_the_same_way(together: Subjects, query: str, reads: list[Call]) -> None:
    async def read(storage: Any) -> list[str]:
        async with storage._driver.session(database="neo4j") as session:
            result = await session.run(query)
            answers = []
            for call in reads:
                answers.append(await answer(result, call))
                if isinstance(answers[-1], tuple):
                    break  # an error ends the reading, as it does in LightRAG
            answers += [await answer(result, call) for call in (Call("consume"), Call("fetch", (1,)))]
        return [str(one.query) if isinstance(one, neo4j.ResultSummary) else exactly(one) for one in answers]

    answers = {form: subject.run(read(subject.storage)) for form, subject in together.items()}
    assert answers == dict.fromkeys(answers, answers["upstream"])


def test_an_error_that_may_pass_reaches_who_tries_again() -> None:
    """The async result's later error would hide it from the driver and from LightRAG."""
    lost = MagicMock(**{"__iter__.side_effect": neo4j.exceptions.SessionExpired("lost")})
    with pytest.raises(neo4j.exceptions.SessionExpired):
        BridgedResult(lost)


@EXAMPLES
@given(data=st.data(), graph=graphs.graphs(), batch=st.booleans())
def test_the_same_changes_make_the_same_graph(
    apart: Subjects, neo4j_server: Server, data: st.DataObject, graph: Graph, *, batch: bool
) -> None:
    changes = [*building(graph, batch=batch), *data.draw(graphs.operations(graph), label="changes")]
    empty(neo4j_server, apart)
    assert_agree({form: subject.ask_comparable(changes) for form, subject in apart.items()}, changes)
    until_searchable(neo4j_server)
    asked = about(graph)
    assert_agree({form: subject.ask_comparable(asked) for form, subject in apart.items()}, asked)


@settings(EXAMPLES, max_examples=10)
@given(graph=graphs.graphs(), batch=st.booleans(), builder=st.integers(0, 4))
def test_the_same_data_gives_the_same_answers_in_the_same_order(
    together: Subjects, neo4j_server: Server, graph: Graph, *, batch: bool, builder: int
) -> None:
    empty(neo4j_server, together)
    [*together.values()][builder].ask(building(graph, batch=batch))
    until_searchable(neo4j_server)
    asked = about(graph)
    assert_agree({form: [exactly(one) for one in subject.ask(asked)] for form, subject in together.items()}, asked)


EVERYTHING = Graph(
    [
        (name, {"entity_id": name, "description": LONG, "labels": "abc"})
        for name in ("Neo4j", "redis neo4j", "", "a`b'", "知识")
    ],
    [
        ("Neo4j", "redis neo4j", {"weight": 1.5}),
        ("Neo4j", "Neo4j", {}),
        ("", "a`b'", {"weight": True}),
        ("知识", "missing", {}),
    ],
)


def test_every_public_method_is_compared_also_after_an_end_and_a_new_beginning(
    apart: Subjects, neo4j_server: Server
) -> None:
    calls = [
        *building(EVERYTHING, batch=True),
        *building(EVERYTHING, batch=False),
        *(Call(method) for method in ("finalize", "initialize", "index_done_callback", "drop_pending_index_ops")),
    ]
    left = [
        Call("delete_node", ("",)),
        Call("remove_nodes", (["知识"],)),
        Call("remove_edges", ([("Neo4j", "Neo4j")],)),
    ]
    for changes in ([*calls, *left], [Call("drop"), *building(EVERYTHING, batch=True)]):
        assert_agree({form: subject.ask_comparable(changes) for form, subject in apart.items()}, changes)
        until_searchable(neo4j_server)
        asked = about(EVERYTHING)
        assert_agree({form: subject.ask_comparable(asked) for form, subject in apart.items()}, asked)
        calls += [*changes, *asked]
    assert {call.method for call in calls} == public_methods()


WRONG = [
    *(
        Call("upsert_node", ("a", {"entity_id": "a", "x": value}))
        for value in ({"a": 1}, [[1]], 2**63, object, "\ud800")
    ),
    Call("upsert_node", ("a", {})),
    Call("upsert_node", (None, {"entity_id": None})),
    Call("upsert_node", (LONG * 3, {"entity_id": LONG * 3})),  # longer than an index takes
    Call("upsert_node", ("a", {"entity_id": "a", "": "a key without a name"})),
    Call("upsert_nodes_batch", ([("a", {"entity_id": "a"}), ("b", {})],)),
    Call("upsert_nodes_batch", ([("a", {"entity_id": "a"}), ("b", {"entity_id": "b", "x": [1, "mixed"]})],)),
    Call("upsert_edge", ("known", "known", {"x": {"a": 1}})),
    Call("upsert_edge", ("known", "known", None)),
    Call("upsert_edges_batch", ([("known", "known", {"x": object()})],)),
    Call("get_nodes_batch", (None,)),
    Call("node_degrees_batch", (None,)),
    Call("get_nodes_edges_batch", (3,)),
    Call("has_nodes_batch", ({"known"},)),
    Call("get_edges_batch", ([{"src": "known"}],)),
    Call("get_edges_batch", (["known"],)),
    Call("get_node", ("\ud800",)),
    Call("has_edge", (b"known", object)),
    Call("get_popular_labels", (-1,)),
    Call("search_labels", ("known", -1)),
    Call("search_labels", ("known", "many")),
    Call("search_labels", (None,)),
    Call("search_labels", ("known AND OR NOT",)),
    Call("get_knowledge_graph", ("*", 3, -1)),
    Call("get_knowledge_graph", ("known", 3, -1)),
    Call("get_knowledge_graph", ("known", "deep")),
    Call("remove_edges", ([("known",)],)),
    Call("remove_nodes", (None,)),
    Call("delete_node", (object,)),
]


def test_errors_are_the_same_and_nothing_is_broken_by_them(apart: Subjects) -> None:
    calls = [
        Call("upsert_node", ("known", {"entity_id": "known"})),
        *WRONG,
        Call("get_all_nodes"),
        Call("get_all_edges"),
    ]
    answers = {form: subject.ask_comparable(calls) for form, subject in apart.items()}
    assert_agree(answers, calls)
    assert sum("class" in one for one in answers["upstream"]) >= 20  # some of them LightRAG takes


def test_a_second_entity_of_one_name_is_what_only_upstream_takes(apart: Subjects) -> None:
    """The one difference that is meant: the uniqueness constraint. LightRAG never renames a node by its properties."""
    calls = [Call("upsert_node", (name, {"entity_id": name})) for name in "ab"]
    renamed = [Call("upsert_node", ("a", {"entity_id": "c"})), Call("get_all_nodes")]
    twice = [Call("upsert_node", ("c", {"entity_id": "b"})), Call("get_all_nodes")]
    assert_agree(
        {form: subject.ask_comparable([*calls, *renamed]) for form, subject in apart.items()}, [*calls, *renamed]
    )
    for form, subject in apart.items():
        outcome, nodes = subject.ask(twice)
        if form == "upstream":
            assert (outcome, [node["id"] for node in nodes]) == (None, ["b", "b"])
        else:
            assert outcome[:2] == (RetryError, neo4j.exceptions.ConstraintError), form
            assert sorted(node["id"] for node in nodes) == ["b", "c"], form
