"""A real Prometheus server, and a real Pushgateway. They run their own binaries, keep nothing, and are ended by pid."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import PROJECT
from wiring.testing.own_server import free_port
from wiring.testing.process_server import ProcessServer
from wiring.testing.waiting import until, until_it_answers
from wiring.whole_file import write_whole

RULES = PROJECT / "deploy" / "prometheus" / "alerts.yml"

CONFIGURATION = """
global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files: [{rules}]
scrape_configs:
  - job_name: lightrag-neo4j
    file_sd_configs:
      - files: [{targets}]
"""

Sample = tuple[dict[str, str], float]
"""The labels of a series, and its value."""


def by(label: str, samples: list[Sample]) -> dict[str, float]:
    """The values by that of a label, which must tell the series apart."""
    found = {labels.get(label, ""): value for labels, value in samples}
    assert len(found) == len(samples), samples
    return found


def binary(name: str, package: str = "prometheus") -> str:
    """The command of one of Prometheus' programs. None is an error, never a skip."""
    if found := shutil.which(name):
        return found
    pytest.fail(f"no {name} found: `apt-get install --no-install-recommends {package}`", pytrace=False)


class Prometheus:
    """A running Prometheus, which looks at its targets once a second."""

    def __init__(self, address: str, targets: Path) -> None:
        self._address = address
        self._targets_file = targets
        self._targets: dict[str, int] = {}

    def watch(self, instance: str) -> int:
        """Fetch figures at a port that is free now, and label them ``instance``; returns the port.

        It begins within five seconds: Prometheus takes up new targets no sooner.
        """
        port = self._targets[instance] = free_port()
        targets = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}} for name, port in self._targets.items()
        ]
        write_whole(self._targets_file, json.dumps(targets).encode())
        return port

    def query(self, promql: str) -> list[Sample]:
        """What ``promql`` says at this moment."""
        result = self.ask("query", query=promql)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def until(self, promql: str, wanted: Callable[[list[Sample]], Any]) -> list[Sample]:
        """Until the answer is as ``wanted``; returns it."""
        answer: list[Sample] = []

        def look() -> bool:
            answer[:] = self.query(promql)
            return bool(wanted(answer))

        until(look, told=lambda: f"{promql} is {answer}")
        return answer

    def until_it_is(self, promql: str, value: float) -> None:
        """Until ``promql`` is one series with this value."""
        self.until(promql, lambda answer: [found for _, found in answer] == [value])

    def until_it_is_by(self, label: str, promql: str, values: dict[str, float]) -> None:
        """Until ``promql`` has these values, by that of a label."""
        self.until(promql, lambda answer: by(label, answer) == values)

    def ask(self, path: str, **parameters: str) -> Any:
        """One question to its HTTP interface; what it refuses is an error, with its reason."""
        answer = httpx.get(f"{self._address}/api/v1/{path}", params=parameters, timeout=30.0).json()
        assert answer["status"] == "success", f"{parameters}: {answer.get('error')}"
        return answer["data"]


@contextmanager
def run_prometheus(folder: Path) -> Iterator[Prometheus]:
    """A Prometheus without targets, with the project's alerts."""
    command, port = binary("prometheus"), free_port()
    configuration, targets = folder / "prometheus.yml", folder / "targets.json"
    configuration.write_text(CONFIGURATION.format(rules=json.dumps(str(RULES)), targets=json.dumps(str(targets))))
    targets.write_text("[]")
    options = [
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with _running(ProcessServer([command, *options], folder), f"http://127.0.0.1:{port}", "Prometheus") as address:
        yield Prometheus(address, targets)


@contextmanager
def run_pushgateway(folder: Path, port: int) -> Iterator[str]:
    """A Pushgateway that knows nothing yet; its address."""
    command = binary("prometheus-pushgateway", "prometheus-pushgateway")
    server = ProcessServer([command, f"--web.listen-address=127.0.0.1:{port}"], folder)
    with _running(server, f"http://127.0.0.1:{port}", "the Pushgateway") as address:
        yield address


@contextmanager
def _running(server: ProcessServer, address: str, what: str) -> Iterator[str]:
    server.start()
    try:
        until_it_answers(lambda: httpx.get(f"{address}/-/ready").raise_for_status(), what)
        yield address
    finally:
        server.close()
