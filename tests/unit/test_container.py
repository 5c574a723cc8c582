from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app_container import ConfigurationError, create_container
from app_container.container import current_container


def test_the_container_is_made_without_connecting_and_without_its_heavy_parts() -> None:
    script = """
import os, sys
os.environ["NEO4J_PASSWORD"] = "x"
from app_container import create_container
container = create_container()
assert container.config.neo4j.max_connection_pool_size() == 50
print(sorted({name.partition(".")[0] for name in sys.modules} & {"celery", "prefect", "lightrag", "neo4j"}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


def test_all_pool_options_reach_the_driver() -> None:
    Path("config.yaml").write_text("""
neo4j:
  uri: bolt://127.0.0.1:1
  password: x
  max_connection_pool_size: 3
  connection_acquisition_timeout: 4
  connection_timeout: 5
  connection_write_timeout: 6
  max_connection_lifetime: 7
  liveness_check_timeout: 8
  max_transaction_retry_time: 9
  keep_alive: false
""")
    container = create_container("config.yaml")
    driver = container.sync_driver()
    pool = driver._pool.pool_config
    expected = {
        "max_connection_pool_size": 3, "connection_timeout": 5, "connection_write_timeout": 6,
        "max_connection_lifetime": 7, "liveness_check_timeout": 8, "keep_alive": False,
    }  # fmt: skip
    assert {name: getattr(pool, name) for name in expected} == expected
    assert driver._default_workspace_config.connection_acquisition_timeout == 4
    assert driver._default_workspace_config.max_transaction_retry_time == 9
    container.shutdown_resources()


def test_a_mistake_in_the_configuration_ends_the_making(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", "x")
    monkeypatch.setenv("NEO4J_MAX_POOL_SIZE", "0")
    with pytest.raises(ConfigurationError, match="NEO4J_MAX_POOL_SIZE"):
        create_container()


def test_who_is_handed_no_container_gets_the_latest_or_one_that_is_made_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_container.container._latest", None)
    with pytest.raises(ConfigurationError, match="NEO4J_PASSWORD"):
        current_container()
    monkeypatch.setenv("NEO4J_PASSWORD", "x")
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: current_container(), range(16)))
    assert all(each is found[0] for each in found)
    assert create_container() is current_container() is not found[0]


def test_the_driver_is_chosen_by_the_place_and_can_be_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", "x")
    container = create_container()

    async def ask() -> object:
        return container.driver()

    with container.sync_driver.override("sync"), container.async_driver.override("async"):
        assert container.driver() == "sync"
        assert asyncio.run(ask()) == "async"
        assert container.worker_loop().run(ask()) == "async"
    with container.driver.override("fake"):
        assert container.driver() == asyncio.run(ask()) == "fake"
    container.shutdown_resources()


def test_a_setting_can_be_changed_in_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", "x")
    container = create_container()
    container.config.neo4j.max_connection_pool_size.from_value(2)
    assert container.settings().neo4j.max_connection_pool_size == 2
