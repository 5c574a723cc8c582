"""Tasks of ``wiring.prefect`` in every way that Prefect runs them: the drivers they open, and what they leave."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import pytest

from tests import PROJECT
from tests.support.places import ASYNC, LOG, SYNC, DriverLog
from tests.support.prefect_servers import PrefectServer
from tests.support.prefect_tasks import MAPPED
from tests.support.python_processes import PythonProcess
from tests.support.servers import Server

POOL_SIZE = 5


class Seen(NamedTuple):
    answers: dict[str, Any]
    log: DriverLog


@pytest.fixture(scope="module")
def seen(prefect_server: PrefectServer, neo4j_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("prefect_tasks")
    log = DriverLog(folder / "drivers")
    environment = neo4j_server.environment | prefect_server.environment
    environment |= {
        "APP_CONTAINER_CONFIG": str(PROJECT / "config.yaml"),
        "NEO4J_MAX_POOL_SIZE": str(POOL_SIZE),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        LOG: str(log.file),
    }
    process = PythonProcess(folder, "flows", environment, "-c", "from tests.support.prefect_tasks import main; main()")
    try:
        answers = process.finish()
    finally:
        process.kill()
    neo4j_server.until_no_connection_is_left()
    return Seen(answers, log)


def doubled(count: int) -> list[int]:
    return [2 * n for n in range(count)]


def test_every_way_of_running_them_gives_the_answers(seen: Seen) -> None:
    answers = seen.answers
    assert answers["awaited"] == [2, *doubled(20)]
    assert answers["mapped"] == answers["mapped_by_a_sync_flow"] == doubled(MAPPED)
    assert answers["in_three_threads"] == doubled(10) * 2
    assert answers["sync_tasks"] == doubled(5) + doubled(20)
    assert answers["sync_tasks_in_an_async_flow"] == doubled(5)
    assert answers["nested"] == [answers["awaited"], answers["in_three_threads"], answers["sync_tasks"]]


def test_a_process_opens_one_driver_of_a_kind_however_many_tasks_it_runs(seen: Seen) -> None:
    opened = Counter(seen.log.drivers("opened"))
    mine = seen.answers["pid"]
    assert opened.pop((ASYNC, mine)) == opened.pop((SYNC, mine)) == 1
    children = set(seen.answers["in_processes"])
    assert 1 <= len(children) <= 2
    assert opened == {(ASYNC, child): 1 for child in children}


def test_the_connections_of_hundreds_of_tasks_are_those_of_a_pool(seen: Seen) -> None:
    assert 2 <= seen.answers["connections"] <= 2 * POOL_SIZE


def test_every_driver_is_closed_by_the_process_that_opened_it(seen: Seen) -> None:
    assert sorted(seen.log.drivers("closed")) == sorted(seen.log.drivers("opened"))


def test_what_passes_is_tried_again_and_nothing_else(seen: Seen) -> None:
    assert seen.answers["retried"] == [3, 3, ["no try will help", 1]]


def test_a_task_that_was_cut_leaves_no_connection_in_use(seen: Seen) -> None:
    assert seen.answers["cut"] == ["TaskRunTimeoutError", 0, "TimeoutError", 0, "CancelledError", 0, "ended", 0]


def test_a_task_can_be_cached_if_it_says_so(seen: Seen) -> None:
    assert seen.answers["cached"] == [7, 7, 1]
