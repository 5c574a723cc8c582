"""One unchanged module, in Celery, Prefect, FastAPI, threads and ``asyncio.run``: the graph is the same."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pprint import pformat
from typing import Any, NamedTuple

import pytest

from tests import PROJECT, SETTINGS
from tests.support.business_calls import DOCUMENTS, Note
from tests.support.business_processes import ALONE, IN_THE_WORKER, PLACES, Processes, process_of
from tests.support.places import ASYNC, SYNC, DriverLog
from tests.support.same_graph import Graph, Key, read_graph, vectors_in_files
from tests.support.servers import Server

OWN = ["loop", "an event loop of the application's own: its async driver"]
MODES = {
    "asyncio_run": OWN,
    "threads": OWN,
    "fastapi": OWN,
    "celery_worker_loop": ["loop", "the worker loop lasts as long as the process: its async driver"],
    "celery_own_loops": ["bridge", "a loop inside a Celery task passes with the task: the sync driver, bridged"],
    "prefect_awaited": ["loop", "a Prefect flow's loop, where its tasks are awaited, too: its async driver"],
    "prefect_submitted": ["bridge", "a loop inside a Prefect task passes with the task: the sync driver, bridged"],
}


class Place(NamedTuple):
    """What the calls in a place returned, and what they left behind."""

    notes: list[Note]
    graph: Graph
    written: list[dict[str, Any]]
    vectors: dict[Key, frozenset[str]]

    @property
    def results(self) -> list[Any]:
        return [note["result"] for note in self.notes]


class Seen(NamedTuple):
    places: dict[str, Place]
    drivers: dict[str, DriverLog]


@pytest.fixture(scope="module")
def seen(
    neo4j_server: Server, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Seen]:
    with pytest.MonkeyPatch.context() as patch, ExitStack() as running:
        for name in list(os.environ):
            if name.startswith(SETTINGS):
                patch.delenv(name)
        patch.setenv("APP_CONTAINER_CONFIG", str(PROJECT / "config.yaml"))
        for name, value in neo4j_server.environment.items():
            patch.setenv(name, value)
        folder = tmp_path_factory.mktemp("business")
        processes = Processes(folder, running)
        for place in PLACES:
            running.callback(neo4j_server.forget_workspace, processes.workspace(place))
        notes = processes.visit_all(lambda: request.getfixturevalue("prefect_server"))
        places = {place: look(neo4j_server, processes, place, notes[place]) for place in PLACES}
        yield Seen(places, {name: processes.drivers(name) for name in map(process_of, PLACES)})


def look(server: Server, processes: Processes, place: str, notes: list[Note]) -> Place:
    workspace = processes.workspace(place)
    written = server.query(
        f"MATCH (n:`{workspace}`) RETURN n.entity_id AS name, n.mentions AS mentions, n.relations AS relations "
        "ORDER BY name"
    )
    return Place(notes, read_graph(server, workspace), written, vectors_in_files(processes.files(place)))


@pytest.mark.parametrize("place", PLACES)
def test_the_storage_tells_the_mode_of_its_place(seen: Seen, place: str) -> None:
    learned = seen.places[place].results[:2]
    assert learned == [MODES[place]] * 2


def test_the_graph_of_all_documents_is_there(seen: Seen) -> None:
    graph = seen.places["asyncio_run"].graph
    names = {"Celery", "Redis", "Neo4j", "Prefect", "Postgres", "Ada", "Bob", "FastAPI", "Grace", "LightRAG"}
    assert {key for key in graph.things if isinstance(key, str)} == names
    assert {("Celery", "Redis"), ("Ada", "Bob"), ("LightRAG", "Neo4j")} <= graph.things.keys()
    assert len(frozenset[str]().union(*graph.sources.values())) == len(DOCUMENTS)  # each is one chunk


@pytest.mark.parametrize("place", PLACES)
def test_every_place_makes_the_same_graph(seen: Seen, place: str) -> None:
    here, reference = seen.places[place], seen.places["asyncio_run"]
    assert here.graph.twice == []
    differences = {what: keys for what, keys in here.graph.differences(reference.graph).items() if keys}
    assert not differences, pformat(differences)
    assert here.vectors == here.graph.sources


@pytest.mark.parametrize("place", PLACES)
def test_queries_beside_lightrag_do_the_same_in_every_place(seen: Seen, place: str) -> None:
    here, graph = seen.places[place], seen.places[place].graph
    mentions = {name: len(sources) for name, sources in graph.sources.items() if isinstance(name, str)}
    relations = Counter(name for key in graph.things if isinstance(key, tuple) for name in key)
    assert here.written == [
        {"name": name, "mentions": mentions[name], "relations": relations[name]} for name in sorted(mentions)
    ]
    assert here.results[2:] == [sum(mentions.values()), "Neo4j"]


def test_a_process_opens_one_driver_of_a_kind_and_only_those_that_fit_its_places(seen: Seen) -> None:
    expected: dict[str, set[tuple[str, int]]] = {name: set() for name in seen.drivers}
    for name, place in seen.places.items():
        *on_a_loop, ranked = (note["pid"] for note in place.notes)
        kind = ASYNC if MODES[name][0] == "loop" else SYNC
        expected[process_of(name)] |= {*((kind, pid) for pid in on_a_loop), (SYNC, ranked)}
    for name, log in seen.drivers.items():
        assert Counter(log.drivers("opened")) == Counter(expected[name]), log.text
        assert sorted(log.drivers("closed")) == sorted(log.drivers("opened")), log.text


def test_each_place_is_one_process_but_the_worker_which_has_two(seen: Seen) -> None:
    pids = {name: {note["pid"] for note in place.notes} for name, place in seen.places.items()}
    assert [len(pids[name]) for name in ALONE] == [1] * len(ALONE)
    assert len(set().union(*pids.values())) == len(ALONE) + len(set().union(*(pids[name] for name in IN_THE_WORKER)))


def test_no_connection_is_left(seen: Seen, neo4j_server: Server) -> None:  # noqa: ARG001 - all places have ended
    neo4j_server.until_no_connection_is_left()
