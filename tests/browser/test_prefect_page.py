"""What a person sees on Prefect's pages, in a real browser: runs of the flow ``ingest``, and their reports."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Browser, Page, run_browser, variety
from tests.support.prefect_servers import PrefectServer
from tests.support.python_processes import StartPython
from tests.support.same_graph import size
from tests.support.servers import Server
from wiring.lightrag.document_checks import make_document_id

TEXTS = ["Ada maintains Redis with Celery.", "Bob uses Prefect to run Neo4j."]
EMPTY = ""
REASON = "the document is empty; there is nothing to insert"


class Pages:
    """One of Prefect's two sets of pages, in a tab."""

    def __init__(self, page: Page, server: PrefectServer, part: str, folder: Path) -> None:
        self.page, self.server, self._address, self._folder = page, server, f"{server.pages}{part}", folder

    def check_run(self, run: dict[str, Any], state: str, tasks: dict[str, str], workspace: str) -> None:
        """Its page shows which run it is and how it ended, its tasks, and that there is a report."""
        self.page.open(f"{self._address}/runs/flow-run/{run['id']}")
        for seen in (run["name"], state, "ingest", f"{len(tasks)} Task runs"):
            self.page.until_seen(seen)
        self.page.until_it_has(lambda lines: (run["name"], state) in pairwise(lines))

        self.page.click("Task Runs")
        for task in tasks:
            self.page.until_seen(task)
        self.page.until_it_has(lambda lines: set(tasks.items()) <= set(pairwise(lines)))
        self._photograph(f"{run['name']}-run.png")

        self.page.click("Artifacts")
        self.page.until_seen(f"documents of workspace {workspace}")

    def check_report(self, run: dict[str, Any], workspace: str, numbers: dict[str, int]) -> list[str]:
        """The page of its report shows these numbers, in a table; returns its lines."""
        (report,) = self.server.artifacts(run["id"])
        self.page.open(f"{self._address}/artifacts/artifact/{report['id']}")
        self.page.until_seen(f"Ingest into workspace {workspace}")
        self.page.until_seen(run["name"])
        rows = {f"{name}\t{number}" for name, number in numbers.items()}
        lines = self.page.until_it_has(lambda lines: rows <= set(lines))
        self._photograph(f"{run['name']}-report.png")
        return lines

    def _photograph(self, name: str) -> None:
        self.page.photograph(self._folder / name)
        assert variety(self._folder / name) > 100, f"{name} is blank"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with run_browser() as running:
        yield running


# Prefect has two sets of pages: the new one is its default, and the addresses in its log lead to the old one.
@pytest.fixture(params=[pytest.param("/v2", id="new"), pytest.param("", id="old")])
def pages(browser: Browser, prefect_server: PrefectServer, tmp_path: Path, request: pytest.FixtureRequest) -> Pages:
    return Pages(browser.new_page(), prefect_server, request.param, tmp_path)


@pytest.mark.usefixtures("browser")  # first of all, so that nothing else is started where there is none
def test_prefects_pages_show_runs_of_ingest_and_their_reports(
    pages: Pages, start_flow: StartPython, neo4j_server: Server, workspace: str
) -> None:
    server, served = pages.server, start_flow("-m", "wiring.prefect_app")

    failed = server.run_deployment("ingest/ingest", texts=[*TEXTS, EMPTY], workspace=workspace)
    run = server.until_final(failed)
    assert run["state_type"] == "FAILED", served.log
    tasks = server.ended_tasks(failed, 4)
    nameless = make_document_id(EMPTY, None)  # as the report calls it, too
    assert tasks == dict.fromkeys([*TEXTS, f"count {workspace}"], "Completed") | {nameless: "Failed"}
    pages.check_run(run, "Failed", tasks, workspace)
    graph = size(neo4j_server, workspace)
    numbers = {"documents": 3, "inserted": 2, "there already": 0, "failures": 1}
    lines = pages.check_report(run, workspace, numbers | graph)
    assert "Failures" in lines
    assert f"{nameless}\t{REASON}" in lines

    again = server.run_deployment("ingest/ingest", texts=TEXTS, workspace=workspace)
    run = server.until_final(again)
    assert run["state_type"] == "COMPLETED", served.log
    tasks = server.ended_tasks(again, 3)
    assert tasks == dict.fromkeys([*TEXTS, f"count {workspace}"], "Completed")
    pages.check_run(run, "Completed", tasks, workspace)
    numbers = {"documents": 2, "inserted": 0, "there already": 2, "failures": 0}
    assert "Failures" not in pages.check_report(run, workspace, numbers | graph)
