"""What several worker processes bring: documents a second with one and with four, on eight workspaces and on one.

Run it with ``python -m benchmarks.several_workers``, on a real Neo4j and a real Redis (``redis-server``, or a container
where Docker answers). The model takes 0.2 s for each call, as a hosted one does. What counts are the ratios of one run.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from app_container import Container, create_container
from wiring.lightrag import offline
from wiring.lightrag.leases.holders import new_holder
from wiring.lightrag.leases.lease import Lease
from wiring.lightrag.leases.store import LeaseStore
from wiring.local_neo4j import LocalNeo4j

DOCUMENTS = 64
LATENCY = 0.2
LEASES = 200
PROJECT = Path(__file__).parent.parent


async def model(prompt: str, **options: Any) -> str:
    """The offline model, after a while."""
    await asyncio.sleep(LATENCY)
    return await offline.complete(prompt, **options)


def main() -> None:
    local = LocalNeo4j(Path(".lightrag/bench-neo4j"))
    server = local.start()
    table = Table("workspaces", "documents/s: one process", "four processes", "ratio", "leases taken", "ms a document")
    try:
        with _redis() as redis, tempfile.TemporaryDirectory() as folder:
            os.environ |= {
                "NEO4J_URI": server.uri,
                "NEO4J_PASSWORD": server.password,
                "REDIS_URI": redis,
                "LIGHTRAG_KV_STORAGE": "RedisKVStorage",
                "LIGHTRAG_VECTOR_STORAGE": "Neo4JVectorStorage",
                "LIGHTRAG_DOC_STATUS_STORAGE": "RedisDocStatusStorage",
                "LIGHTRAG_WORKING_DIR": folder,
                "APP_CONTAINER_CONFIG": str(_config(Path(folder))),
            }
            container = create_container()
            lease = container.worker_loop().run(_milliseconds_of_a_lease(container.leases()), 60)
            _documents_a_second(4, 8)  # a server that has just started is slow
            for workspaces in (8, 1):
                before = _leases_taken(container)
                one = _documents_a_second(1, workspaces)
                between = _leases_taken(container)
                four = _documents_a_second(4, workspaces)
                taken = between - before, _leases_taken(container) - between
                table.add_row(
                    str(workspaces), f"{one:.2f}", f"{four:.2f}", f"{four / one:.2f}",
                    f"{taken[0]} / {taken[1]}", " / ".join(f"{lease * times / DOCUMENTS:.1f}" for times in taken),
                )  # fmt: skip
            container.shutdown_resources()
    finally:
        local.stop()
    console = Console(width=120)
    console.print(table)
    console.print(f"a lease that is taken and given back: {lease:.1f} ms (median of {LEASES})")


async def _milliseconds_of_a_lease(leases: LeaseStore) -> float:
    holder, seconds = new_holder(), []
    for _ in range(LEASES):
        began = time.perf_counter()
        lease = await leases.take("bench", holder)
        assert isinstance(lease, Lease)
        await leases.give_back(lease)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000


def _leases_taken(container: Container) -> int:
    """Since ever: a token is the number of a lease."""
    return sum(lease.token for lease in container.worker_loop().run(container.leases().list(), 30))


def _documents_a_second(processes: int, workspaces: int) -> float:
    """From when all processes are ready to when the last document is done."""
    run = uuid.uuid4().hex[:8]
    command = [sys.executable, "-m", "benchmarks.several_workers", run, str(processes), str(workspaces)]
    workers = [
        subprocess.Popen(
            [*command, str(number)],
            cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )
        for number in range(processes)
    ]  # fmt: skip
    _until_all_say("ready", workers)
    started = time.monotonic()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    _until_all_say("done", workers)
    seconds = time.monotonic() - started
    assert [worker.wait(60) for worker in workers] == [0] * processes
    return DOCUMENTS / seconds


def _until_all_say(word: str, workers: list[subprocess.Popen[str]]) -> None:
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == f"{word}\n"


def _work(run: str, processes: int, workspaces: int, number: int) -> None:
    """One process, which inserts its share of the documents, one after the other, as a worker with one child does."""
    container = create_container()
    documents, loop = container.documents(), container.worker_loop()
    for workspace in range(workspaces):  # building a LightRAG takes a second, and is not what is measured
        loop.run(container.rag().get(f"bench_{run}_{workspace}"), 60)
    _say("ready")
    sys.stdin.readline()
    order = [n % workspaces for n in range(DOCUMENTS)]
    random.Random(1).shuffle(order)  # noqa: S311 - as a queue has them, the same for each number of processes
    for n in range(number, DOCUMENTS, processes):
        text = f"Here Person{n} met Person{n + 1} in Room{n}."
        name = f"bench_{run}_{order[n]}"
        loop.run(documents.insert(text, document_id=f"d{n}", workspace=name), 300)
    _say("done")
    container.shutdown_resources()


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _config(folder: Path) -> Path:
    text = (PROJECT / "config.yaml").read_text()
    file = folder / "config.yaml"
    file.write_text(text.replace("wiring.lightrag.offline.complete", "benchmarks.several_workers.model"))
    return file


@contextmanager
def _redis() -> Iterator[str]:
    binary = shutil.which("redis-server")
    if binary is None:
        from testcontainers.redis import RedisContainer

        with RedisContainer("redis:7") as container:
            yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}"
        return
    with tempfile.TemporaryDirectory() as folder:
        options = ["--bind", "127.0.0.1", "--port", "6399", "--dir", folder, "--save", ""]
        server = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
        try:
            yield "redis://127.0.0.1:6399"
        finally:
            server.terminate()
            server.wait(10)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _work(sys.argv[1], *map(int, sys.argv[2:]))
    else:
        main()
