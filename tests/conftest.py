"""What all tests share. Their server, workspace, container and workers are those of `wiring.testing`."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests import PROJECT, SETTINGS

pytest.register_assert_rewrite("tests.support")  # so that what it asserts says what it found

pytest_plugins = [
    "pytester",
    "tests.support.servers",
    "tests.support.proxy",
    "tests.support.things",
    "tests.support.containers",
    "tests.support.workers",
    "tests.support.python_processes",
    "tests.support.prefect_servers",
    "tests.support.openai_server",
    "tests.support.telemetry",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-faults", action="store_true", help="every fault on every broker, with 100 documents each: make faults"
    )


def pytest_xdist_auto_num_workers() -> int:
    """Two processes, for most tests wait most of the time; one for a server that they would have to share.

    Tests count the connections of their server.
    """
    return 0 if os.environ.get("NEO4J_URI") else 2


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Reports travel as UTF-8, and what is told in tests of errors is not always that."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


def pytest_configure() -> None:
    """Let Ctrl-C reach the processes that tests start, also where a shell runs all this in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in a folder of its own, with the project's config.yaml and no settings from outside."""
    for name in list(os.environ):
        if name.startswith(SETTINGS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("APP_CONTAINER_CONFIG", str(PROJECT / "config.yaml"))
    monkeypatch.chdir(tmp_path)
