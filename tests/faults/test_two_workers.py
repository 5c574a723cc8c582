"""Two workers on one workspace, with nothing in common but servers: nothing is lost, and nothing is read twice."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.faults.conftest import Undisturbed
from tests.support.fault_runs import texts
from tests.support.faults import kill_neo4j, restart_the_broker
from tests.support.servers import Server
from tests.support.two_workers import TERM, TwoWorkers, two_workers


def kill_the_holder(run: TwoWorkers) -> None:
    """Its whole worker, as when its machine is lost."""
    for done in run.moments(3):
        call = run.until_mid_document(done)
        run.worker_of(call.pid).kill()
        run.expect_cut(call)
        run.start_worker()
        run.until_others_go_on(call)


def stop_the_holder(run: TwoWorkers) -> None:
    """For longer than its lease lasts; then it goes on, and must not write."""
    for done in run.moments(3):
        call = run.until_mid_document(done)
        worker = psutil.Process(run.worker_of(call.pid).process.pid)
        family = [worker, *worker.children(recursive=True)]
        for process in family:
            process.suspend()
        run.until_others_go_on(call)
        time.sleep(TERM)
        for process in family:
            process.resume()


def take_over_often(run: TwoWorkers) -> None:
    """The process that has the lease is killed, again and again; others of its worker, or of the other one, go on."""
    token = 0
    for _ in range(20 if run.is_long else 4):
        lease = run.until_held(other_than=token)
        token = lease["token"]
        if psutil.pid_exists(lease["pid"]):
            os.kill(lease["pid"], signal.SIGKILL)


CLOCK = "a clock is an hour ahead"

FAULTS: dict[str, Callable[[TwoWorkers], None]] = {
    "the holder is killed": kill_the_holder,
    "the holder is stopped": stop_the_holder,
    "Redis is restarted": restart_the_broker,
    "Neo4j is killed": kill_neo4j,
    "many take-overs": take_over_often,
    CLOCK: lambda _: None,
}


ONLY_IN_MAKE_FAULTS = ("the holder is killed", "Redis is restarted", "Neo4j is killed", CLOCK)
"""They take long; in every run of the tests a holder is killed in take-overs, and servers under one worker.

What a wrong clock does is tested without documents, too (``test_redis_clock.py``).
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    is_long = metafunc.config.getoption("--all-faults")
    metafunc.parametrize("fault", [fault for fault in FAULTS if is_long or fault not in ONLY_IN_MAKE_FAULTS])


def test_every_document_is_there_once(
    *,
    fault: str,
    undisturbed: Undisturbed,
    neo4j_server: Server,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    is_long: bool,
    record_property: Callable[[str, object], None],
) -> None:
    documents = texts(200, persons=30) if is_long else texts(16)
    expected = undisturbed(documents).graph
    server: Server = request.getfixturevalue("own_neo4j") if fault == "Neo4j is killed" else neo4j_server
    with two_workers(server, tmp_path, is_long=is_long) as run:
        run.start_both("tests.support.fast_clock_worker" if fault == CLOCK else "wiring.celery_app")
        run.send(documents)
        FAULTS[fault](run)
        run.check_all_are_there(expected)
        times = Counter(call.document for call in run.model_calls() if call.ended is not None)
        run.figures["documents read twice"] = sum(count > 1 for count in times.values())
        if fault in (CLOCK, "Redis is restarted"):
            assert set(times.values()) == {1}
        if fault == CLOCK:
            assert set(run.deliveries().values()) == {1}
        record_property("figures", run.figures)
