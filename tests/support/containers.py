"""The project's container, on the server of the tests."""

from __future__ import annotations

import pytest

from tests.support.proxy import Proxy


@pytest.fixture
def environment(neo4j_environment: dict[str, str]) -> dict[str, str]:
    """Settings for this test's server, workspace and folders, set for this process and returned for others."""
    return neo4j_environment


@pytest.fixture
def small_pool(environment: dict[str, str], proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Settings for pools of one connection, through a proxy, for which nobody waits long; for this process."""
    monkeypatch.setenv("NEO4J_URI", proxy.uri)
    monkeypatch.setenv("NEO4J_MAX_POOL_SIZE", "1")
    monkeypatch.setenv("NEO4J_CONNECTION_ACQUISITION_TIMEOUT", "0.3")
    return environment


def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let LightRAG's storage try again at once; else it pauses for 4 to 10 s each time."""
    from lightrag.kg.neo4j_impl import Neo4JStorage
    from tenacity import wait_none

    for method in vars(Neo4JStorage).values():
        if retrying := getattr(method, "retry", None):
            monkeypatch.setattr(retrying, "wait", wait_none())
