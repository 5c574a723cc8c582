"""A pytest plugin: tests on a real Neo4j, with a container and workers that leave nothing behind.

It is loaded where this project and pytest are installed, and does nothing until a test asks for one of its fixtures.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

from wiring.testing.fixtures import (
    CHOICE,
    _every_connection_is_closed,
    celery_worker_process,
    container,
    neo4j_environment,
    neo4j_server,
    rabbitmq_server,
    redis_server,
    remember_choice,
    wired_modules,
    workspace,
)
from wiring.testing.logs import add_logs

__all__ = [
    "_every_connection_is_closed",
    "celery_worker_process",
    "container",
    "neo4j_environment",
    "neo4j_server",
    "rabbitmq_server",
    "redis_server",
    "wired_modules",
    "workspace",
]


def pytest_configure(config: pytest.Config) -> None:
    """Choose the server."""
    remember_choice(config)


def pytest_report_header(config: pytest.Config) -> str:
    """Say which server it is."""
    return f"neo4j: {config.stash[CHOICE]}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of servers and workers with a test that fails."""
    report = yield
    if report.failed:
        add_logs(item.config, report)
    return report
