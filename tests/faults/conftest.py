"""What the runs with faults share: a Neo4j they may kill, the graphs they must end with, and the table of figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.brokers import BROKERS
from tests.support.fault_runs import ModelCall, fault_run
from tests.support.own_neo4j import OwnNeo4j, run_own_neo4j
from tests.support.same_graph import Graph
from tests.support.servers import Server
from wiring.testing.logs import shown_on_failure


@dataclass(frozen=True)
class Run:
    """What there was after a run in which nothing went wrong."""

    graph: Graph
    calls: list[ModelCall]
    figures: dict[str, Any]


Undisturbed = Callable[[dict[str, str]], Run]


@pytest.fixture(scope="session")
def undisturbed(neo4j_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Runs documents through a worker, once for each set of them."""
    runs: dict[tuple[str, ...], Run] = {}

    def run_once(documents: dict[str, str]) -> Run:
        key = tuple(documents.values())
        if key not in runs:
            folder = tmp_path_factory.mktemp("undisturbed")
            with fault_run(neo4j_server, BROKERS["folder"], folder) as run:
                run.start_worker()
                run.send(documents)
                graph = run.check_all_are_there()
                runs[key] = Run(graph, run.model_calls(), run.figures)
        return runs[key]

    return run_once


@pytest.fixture(scope="session")
def own_neo4j(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnNeo4j]:
    home = tmp_path_factory.mktemp("own") / "neo4j"
    with run_own_neo4j(home) as server, shown_on_failure(pytestconfig, "Neo4j of the test's own", server.own.log):
        yield server


@pytest.fixture
def is_long(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--all-faults"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures of the runs, for docs/reliability.md."""
    for report in terminalreporter.getreports("passed"):
        for name, figures in report.user_properties:
            if name == "figures":
                values = ", ".join(f"{what}: {value}" for what, value in figures.items())
                terminalreporter.write_line(f"{report.nodeid.partition('::')[2]}  {values}")
