"""The Grafana dashboard, the alerts and the example configuration: what the real Prometheus says of them."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests import PROJECT
from tests.prometheus.conftest import StartMeasured
from tests.support.prometheus_server import Prometheus, Sample, binary

DASHBOARD = PROJECT / "deploy" / "grafana" / "lightrag-neo4j.json"
EXAMPLE = PROJECT / "deploy" / "prometheus"
CASES = PROJECT / "tests" / "prometheus" / "alert_cases.yml"
TIMEOUT = 60.0


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return read


def queries(dashboard: dict[str, Any]) -> Iterator[str]:
    """All of them, with what Grafana puts in for its variables."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"].replace("$__rate_interval", "1m")
            yield query.replace("$instance", "dashboard").replace("$pool", ".*")


def is_data(found: list[Sample]) -> bool:
    return bool(found) and not any(math.isnan(value) for _, value in found)


def test_the_dashboard_is_whole(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    targets = [target for panel in panels for target in panel.get("targets", ())]
    assert {target["datasource"]["uid"] for target in targets} == {"${datasource}"}
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert set(variables) == {"datasource", "instance", "pool"}
    used = set(re.findall(r"\$(\w+)", " ".join(target["expr"] for target in targets)))
    assert used == {"instance", "pool", "__rate_interval"}


def test_each_query_of_the_dashboard_finds_data_and_the_alerts_can_be_evaluated(
    start_measured: StartMeasured, app: Celery, prometheus: Prometheus, dashboard: dict[str, Any], tmp_path: Path
) -> None:
    start_measured("dashboard", "--concurrency", "1", app="tests.support.measured_tasks")
    # Prometheus tells how much a count grew only if it has seen it before, so everything happens twice.
    for times in (1, 2):
        held = app.send_task("hold", (times, str(mark := tmp_path / f"mark{times}")))
        prometheus.until_it_is('sum(neo4j_driver_connections_in_use{instance="dashboard"})', 2 * times)
        mark.touch()
        held.get(timeout=TIMEOUT)
        app.send_task("insert", (f"Here Ada met Bob{times}.",)).get(timeout=TIMEOUT)
        prometheus.until_it_is('sum(lightrag_document_seconds_count{instance="dashboard"})', times)
    for query in queries(dashboard):
        prometheus.until(query, is_data)

    for variable in dashboard["templating"]["list"][1:]:
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
        assert found, variable
        series = prometheus.ask("series", **{"match[]": found[1].replace("$instance", ".*")})
        assert {"instance": "dashboard", "pool": "process"}[found[2]] in {each.get(found[2]) for each in series}

    (group,) = prometheus.ask("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}


@pytest.mark.parametrize(
    "arguments", [("check", "config", str(EXAMPLE / "prometheus.yml")), ("test", "rules", str(CASES))]
)
def test_the_example_is_valid_and_its_alerts_fire_when_they_should(arguments: tuple[str, ...]) -> None:
    ran = subprocess.run([binary("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
