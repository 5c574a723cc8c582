"""Health on a real server, on ways to it that hang or lead nowhere, and in a process whose worker loop is blocked."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from app_container import Container, create_container
from app_container.drivers import check_connection
from app_container.errors import ServerUnavailableError
from app_container.health import Health, Liveness
from app_container.settings import Settings
from tests.support.proxy import Proxy
from tests.support.schema import COMMAND, initialize
from tests.support.servers import Server
from tests.support.workers import StartWorker
from wiring.testing.waiting import until

NOWHERE = "bolt://127.0.0.1:1"
QUICKLY = {"NEO4J_CHECK_TIMEOUT": "0.5"}

HealthOf = Callable[..., tuple[Health, Settings]]


@pytest.fixture
def health_of(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> HealthOf:  # noqa: ARG001 - it sets them
    """The health of a container with other settings than the test's."""

    def health_of(**variables: str) -> tuple[Health, Settings]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        container = create_container()
        return container.health(), container.settings()

    return health_of


def test_a_server_is_ready_before_anything_is_in_it(container: Container, workspace: str, neo4j_server: Server) -> None:
    health = container.health()
    fresh = health.ready_sync()
    assert (fresh.ready, fresh.reason) == (True, None)
    assert fresh.server is not None
    assert fresh.server.startswith("Neo4j/")
    assert fresh.edition in ("community", "enterprise")
    assert (fresh.database, fresh.database_exists) == ("neo4j", True)
    assert fresh.connect_ms
    assert fresh.latency_ms
    assert fresh.schema == {"unique_entities": False, "entity_index": False, "fulltext_index": False}

    initialize(container, workspace)
    later = asyncio.run(health.ready())
    assert later.ready
    assert later.schema == dict.fromkeys(fresh.schema, True)
    assert fresh.last_success is not None
    assert later.last_success is not None
    assert later.last_success > fresh.last_success
    assert json.loads(json.dumps(later.as_dict()))["last_success"] == later.last_success
    container.shutdown_resources()
    neo4j_server.until_no_connection_is_left()


def test_a_database_that_is_not_there(health_of: HealthOf) -> None:
    health, _ = health_of(NEO4J_DATABASE="nowhere")
    found = health.ready_sync()
    assert (found.ready, found.database, found.database_exists) == (False, "nowhere", False)
    assert found.reason is not None
    assert found.reason.endswith("; set NEO4J_DATABASE to one that exists")


def test_a_server_that_is_down(health_of: HealthOf) -> None:
    health, _ = health_of(NEO4J_URI=NOWHERE)
    found = health.ready_sync()
    assert (found.ready, found.database_exists, found.last_success) == (False, None, None)
    assert str(found.reason).startswith(f"Neo4j at {NOWHERE} does not answer: ")


def test_a_server_that_hangs_is_given_up_and_nothing_is_left_open(health_of: HealthOf, proxy: Proxy) -> None:
    health, settings = health_of(NEO4J_URI=proxy.uri, **QUICKLY)
    before = health.ready_sync()
    assert before.ready

    async def here() -> tuple[bool, int]:
        """On a loop of the application's, which goes on meanwhile."""
        turns = 0
        asking = asyncio.create_task(health.ready())
        while not asking.done():
            await asyncio.sleep(0.01)
            turns += 1
        return (await asking).ready, turns

    proxy.stop()
    found = health.ready_sync()
    assert (found.ready, found.last_success) == (False, before.last_success)
    expected = f"Neo4j at {proxy.uri} does not answer: nothing came within 0.5 s; start it, or set NEO4J_URI"
    assert str(found.reason).startswith(expected)
    is_ready, turns = asyncio.run(here())
    assert not is_ready
    assert turns > 1
    with pytest.raises(ServerUnavailableError, match=r"nothing came within 0\.5 s"):
        check_connection(settings.neo4j)
    proxy.go_on()
    until(lambda: proxy.open == 0)
    assert health.ready_sync().ready


def test_a_process_lives_as_long_as_its_worker_loop_takes_turns(health_of: HealthOf) -> None:
    health_of(NEO4J_URI=NOWHERE, **QUICKLY)  # the server is not asked
    container = create_container()
    health = container.health()
    runs, release = threading.Event(), threading.Event()

    async def block() -> None:
        runs.set()
        release.wait(30)

    def both() -> list[Liveness]:
        return [health.live_sync(), asyncio.run(health.live())]

    assert both() == [Liveness(live=True, reason=None)] * 2
    assert not container.worker_loop.initialized
    loop = container.worker_loop()
    assert both() == [Liveness(live=True, reason=None)] * 2
    assert loop.run(health.live()).live
    blocking = threading.Thread(target=loop.run, args=(block(),))
    blocking.start()
    assert runs.wait(10)
    reason = "the worker loop took no turn within 0.5 s, so something blocks it"
    assert both() == [Liveness(live=False, reason=reason)] * 2
    release.set()
    blocking.join(10)
    assert both() == [Liveness(live=True, reason=None)] * 2
    loop.close()
    assert both() == [Liveness(live=False, reason="the worker loop is closed")] * 2
    container.shutdown_resources()
    assert both() == [Liveness(live=True, reason=None)] * 2


@pytest.mark.usefixtures("environment")
def test_the_probe_prints_one_line_of_json_and_imports_neither_lightrag_nor_celery(neo4j_server: Server) -> None:
    script = """
import sys
from wiring.cli import main
try:
    main()
finally:
    print(sorted({"lightrag", "celery", "prefect"} & set(sys.modules)), file=sys.stderr)
"""

    def probe(**variables: str) -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-c", script, "check", "--probe", "readiness"],
            env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.stderr == "[]\n"
        (line,) = done.stdout.splitlines()
        return done.returncode, json.loads(line)

    code, found = probe()
    assert (code, found["ready"], found["reason"]) == (0, True, None)
    assert found["schema"] == {"unique_entities": False, "entity_index": False, "fulltext_index": False}
    with Proxy(neo4j_server.uri) as proxy:
        proxy.stop()
        code, found = probe(NEO4J_URI=proxy.uri, **QUICKLY)
    assert (code, found["ready"]) == (1, False)
    assert "nothing came within 0.5 s" in found["reason"]


def test_a_worker_and_the_command_tell_of_pools_that_are_too_large(
    start_worker: StartWorker, neo4j_server: Server
) -> None:
    (row,) = neo4j_server.query("SHOW SETTINGS 'server.bolt.thread_pool_max_size' YIELD value")
    limit = int(row["value"])
    large = {"NEO4J_MAX_POOL_SIZE": str(limit)}
    worker = start_worker("--concurrency", "3", **large)
    worker.until_ready()
    warning = f"3 processes x 2 drivers x {limit} connections = {6 * limit}, "
    fix = f"set NEO4J_MAX_POOL_SIZE to {(limit - 1) // 6} or lower"
    (line,) = [line for line in worker.log.splitlines() if warning in line]
    assert fix in line

    done = subprocess.run(
        [COMMAND, "check", "--json"],
        env={**os.environ, **large}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    facts = json.loads(done.stdout)
    assert facts["pool_budget"] == {
        "processes": 3, "drivers_per_process": 2, "worst_case": 6 * limit, "server_threads": limit
    }  # fmt: skip
    assert fix in facts["advice"][0]
    assert facts["edition"] in ("community", "enterprise")
    assert facts["latency_ms"] > 0
    assert facts["schema"]["unique_entities"] == "there"  # the worker made it
