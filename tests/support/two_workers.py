"""Two workers as two machines have them: each has a parent and a folder of its own, and they share servers only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from tests.support.brokers import BROKERS
from tests.support.fault_runs import FaultRun, fault_run
from tests.support.same_graph import Key, vectors_in_neo4j
from tests.support.servers import Server
from tests.support.workers import WorkerProcess
from wiring.testing.waiting import until

TERM = 3.0
"""Seconds; the tests wait for leases to end."""


def shared_storages(redis_url: str) -> dict[str, str]:
    """The settings of storages that several machines can share."""
    return {
        "LIGHTRAG_KV_STORAGE": "RedisKVStorage",
        "LIGHTRAG_DOC_STATUS_STORAGE": "RedisDocStatusStorage",
        "LIGHTRAG_VECTOR_STORAGE": "Neo4JVectorStorage",
        "REDIS_URI": redis_url,
    }


@dataclass
class TwoWorkers(FaultRun):
    """Documents through two workers whose storages are Redis and Neo4j."""

    concurrency: int = 2

    def start_both(self, app_of_second: str = "wiring.celery_app") -> None:
        for number, app in enumerate(("wiring.celery_app", app_of_second)):
            self.start_worker(app, LIGHTRAG_WORKING_DIR=str(self.folder / f"machine{number}"))

    def vectors(self) -> dict[Key, frozenset[str]]:
        return vectors_in_neo4j(self.server, self.workspace)

    def status(self) -> dict[str, str]:
        with redis.Redis.from_url(self.broker.url, decode_responses=True) as client:
            keys: Any = client.keys(f"{self.workspace}_doc_status:*")
            rows: dict[str, Any] = {key.partition(":")[2]: json.loads(str(client.get(key))) for key in keys}
        return {key: row["status"] for key, row in rows.items() if "status" in row}

    def lease(self) -> dict[str, Any]:
        """What is noted of the workspace's lease; nothing if it was never taken."""
        rows = self.server.query(
            "MATCH (lease:LightRAGLease {workspace: $workspace}) RETURN properties(lease) AS lease",
            workspace=self.workspace,
        )
        lease: dict[str, Any] = rows[0]["lease"] if rows else {}
        return lease

    def until_held(self, *, other_than: int = 0) -> dict[str, Any]:
        """Until a process has the lease; returns the lease."""

        def look() -> dict[str, Any] | None:
            lease = self.lease()
            return lease if "holder" in lease and lease["token"] > other_than else None

        found: dict[str, Any] = until(look, 60, told=self.ends_of_logs)
        return found

    def worker_of(self, pid: int) -> WorkerProcess:
        """The worker that a process belongs to."""
        import psutil

        parents = {parent.pid for parent in psutil.Process(pid).parents()}
        return next(worker for worker in self.workers if worker.process.pid in parents)


@contextmanager
def two_workers(server: Server, folder: Path, *, is_long: bool = False) -> Iterator[TwoWorkers]:
    """A run with Redis, in a workspace of its own; no worker is started yet, and nothing is sent."""
    with fault_run(server, BROKERS["redis"], folder, is_long=is_long) as run:
        environment = run.environment | shared_storages(run.broker.url) | {"LIGHTRAG_LEASE_TERM": str(TERM)}
        yield TwoWorkers(environment, folder, server, run.broker, run.app, is_long, workers=run.workers)
