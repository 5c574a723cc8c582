"""The ready worker, while something dies, stops or is restarted: every document is there, once, in the same graph."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.conftest import Undisturbed
from tests.support.brokers import BROKERS
from tests.support.fault_runs import FaultRun, fault_run, texts
from tests.support.faults import kill_neo4j, restart_the_broker
from tests.support.servers import Server


def nothing(run: FaultRun) -> None:
    run.until_mid_document()


def kill_a_child(run: FaultRun) -> None:
    for done in run.moments(5):
        call = run.until_mid_document(done)
        os.kill(call.pid, signal.SIGKILL)
        run.expect_cut(call)
        run.until_others_go_on(call)


def kill_the_worker(run: FaultRun) -> None:
    for done in run.moments(3):
        call = run.until_mid_document(done)
        run.worker.kill()
        run.expect_cut(call)
        run.start_worker()
        run.until_others_go_on(call)


def stop_neo4j(run: FaultRun) -> None:
    run.until_mid_document()
    run.own_neo4j.own.stop()
    time.sleep(30 if run.is_long else 8)
    run.own_neo4j.own.go_on()


def take_the_results_away(run: FaultRun) -> None:
    run.until_mid_document()
    run.broker.end()
    time.sleep(30 if run.is_long else 5)
    run.broker.start()


class Fault(NamedTuple):
    name: str
    happens: Callable[[FaultRun], None]
    brokers: tuple[str, ...]
    """Where it happens in every run of the tests."""
    all_brokers: tuple[str, ...]
    """Where it happens in ``make faults``."""
    settings: dict[str, str] = {}  # noqa: RUF012 - nobody changes it


ALL = ("folder", "rabbitmq", "redis")
RESULTS = ("redis for results",)
ONE_CONNECTION = {"NEO4J_MAX_POOL_SIZE": "1", "NEO4J_CONNECTION_ACQUISITION_TIMEOUT": "1"}

FAULTS = [
    Fault("a child is killed", kill_a_child, ("redis",), ALL),
    Fault("the worker is killed", kill_the_worker, ("folder",), ALL),
    Fault("Neo4j is killed", kill_neo4j, ("folder",), ALL),
    Fault("Neo4j is stopped", stop_neo4j, (), ALL),
    Fault("the broker is restarted", restart_the_broker, ("rabbitmq",), ("rabbitmq", "redis")),
    Fault("the pool is full", nothing, (), ALL, ONE_CONNECTION),
    Fault("the results are away", take_the_results_away, (), RESULTS),
]
OF_NEO4J = (kill_neo4j, stop_neo4j)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fault" in metafunc.fixturenames:
        is_long = metafunc.config.getoption("--all-faults")
        rows = [(fault, name) for fault in FAULTS for name in (fault.all_brokers if is_long else fault.brokers)]
        metafunc.parametrize(("fault", "broker"), rows, ids=[f"{fault.name}-{name}" for fault, name in rows])


def test_every_document_is_there_once(
    *,
    fault: Fault,
    broker: str,
    undisturbed: Undisturbed,
    neo4j_server: Server,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    is_long: bool,
    record_property: Callable[[str, object], None],
) -> None:
    documents = texts(100 if is_long else 16)
    expected = undisturbed(documents).graph
    server: Server = request.getfixturevalue("own_neo4j") if fault.happens in OF_NEO4J else neo4j_server
    with fault_run(server, BROKERS[broker], tmp_path, is_long=is_long, **fault.settings) as run:
        run.start_worker()
        run.send(documents)
        fault.happens(run)
        run.check_all_are_there(expected)
        record_property("figures", run.figures)


def test_documents_that_share_entities_are_read_once_and_lose_no_source(
    undisturbed: Undisturbed, *, is_long: bool, record_property: Callable[[str, object], None]
) -> None:
    documents = texts(200 if is_long else 16)
    run = undisturbed(documents)
    assert sorted(call.document for call in run.calls) == sorted(documents)
    assert len({call.pid for call in run.calls}) >= 1
    persons = {name: found.sources for name, found in run.graph.things.items() if str(name).startswith("Person")}
    words = {key: set(text.replace(".", "").split()) for key, text in documents.items()}
    assert persons == {
        name: {f"{key}-chunk-000" for key in documents if name in words[key]}
        for name in set().union(*words.values())
        if name.startswith("Person")
    }
    record_property("figures", run.figures)


def test_a_document_that_kills_its_process_is_given_up_and_the_others_are_processed(
    neo4j_server: Server, tmp_path: Path, *, is_long: bool, record_property: Callable[[str, object], None]
) -> None:
    documents = texts(100 if is_long else 8)
    documents["doc3"] = documents["doc3"] + " PLEASE-DIE in Room3."
    settings = {"CELERY_DELIVERY_LIMIT": "5", "CELERY_RETRY_BACKOFF_MAX": "2"}
    with fault_run(neo4j_server, BROKERS["folder"], tmp_path, is_long=is_long, **settings) as run:
        run.start_worker()
        run.send(documents)
        outcomes = run.outcomes()
        run.stop()
        poison = outcomes.pop("doc3")
        assert isinstance(poison, Exception)
        assert "'doc3'" in str(poison)
        assert "5 times" in str(poison)
        assert {key for key, outcome in outcomes.items() if isinstance(outcome, Exception)} == set()
        status = run.status()
        assert status.pop("doc3", "failed") == "failed"
        assert status == dict.fromkeys(outcomes, "processed")
        deliveries = run.deliveries()
        del deliveries["doc3"]
        # It takes another's process along twice at the most; that one's task is then delivered again, and sent anew.
        assert max(deliveries.values()) <= 5
        run.figures["processes it killed"] = sum(call.document == "doc3" for call in run.model_calls())
        record_property("figures", run.figures)
