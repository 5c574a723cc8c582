"""Who works on a workspace, as operators see it; and where its files may be."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app_container import Container, create_container
from tests.integration.test_command import run, run_json
from tests.support.models import config_with_model
from tests.support.servers import Server
from tests.support.workers import StartWorker
from wiring.lightrag.errors import LeaseLostError
from wiring.lightrag.file_home import FilesElsewhereError
from wiring.lightrag.leases.holders import new_holder
from wiring.lightrag.leases.keeping import work_under
from wiring.lightrag.leases.lease import Lease
from wiring.lightrag.leases.line import Line
from wiring.lightrag.leases.store import LeaseStore, Refused
from wiring.testing.fixtures import forget_shared_state


def take(container: Container, workspace: str) -> Lease:
    found = container.worker_loop().run(container.leases().take(workspace, new_holder()), 30)
    assert isinstance(found, Lease)
    return found


def row_of(workspace: str) -> Any:
    return next(row for row in run_json("leases") if row["workspace"] == workspace)


def test_they_are_shown_and_can_be_released(container: Container, neo4j_server: Server, workspace: str) -> None:
    assert run("leases", "release", workspace, code=1) == (
        f"workspace {workspace!r} has no lease; see lightrag-neo4j leases\n"
    )
    lease = take(container, workspace)
    row = row_of(workspace)
    assert (row["is_held"], row["pid"], row["token"], row["waiting"]) == (True, lease.holder.pid, 1, 0)
    assert 0 < row["left"] <= 15.0
    assert f"process {lease.holder.pid} on" in run("leases")
    assert f"taken from process {lease.holder.pid} on" in run("leases", "release", workspace)
    assert "nobody had it" in run("leases", "release", workspace)
    assert row_of(workspace)["is_held"] is False

    async def work() -> None:
        with suppress(asyncio.CancelledError):  # LightRAG also overhears one now and then
            await asyncio.sleep(60)
        await asyncio.sleep(10)

    lease.term = 0.3  # so that it is renewed at once
    with pytest.raises(LeaseLostError, match="an operator released it; another worker goes on"):
        container.worker_loop().run(work_under(container.leases(), lease, work), 30)
    container.shutdown_resources()
    neo4j_server.until_no_connection_is_left()


def test_who_leaves_the_line_late_keeps_what_it_has_taken_since(
    container: Container, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave, may_leave, has_left = LeaseStore.leave, asyncio.Event(), asyncio.Event()

    async def leave_late(*args: Any) -> None:
        await may_leave.wait()
        await leave(*args)
        has_left.set()

    async def run() -> None:
        leases: LeaseStore = container.leases()
        line = Line(leases, workspace)
        other = await leases.take(workspace, new_holder())
        assert isinstance(other, Lease)
        assert isinstance(await line.ask(alone=False), Refused)
        await line.leave()
        await leases.give_back(other)
        lease = await line.ask(alone=False)
        assert isinstance(lease, Lease)
        may_leave.set()
        await has_left.wait()
        assert (await leases.renew(lease)).waiting == 0
        await leases.give_back(lease)

    monkeypatch.setattr(LeaseStore, "leave", leave_late)
    monkeypatch.setattr("wiring.lightrag.leases.line.LEAVE_TIMEOUT", 0.1)
    container.worker_loop().run(run(), 30)


def test_a_document_is_counted_and_the_lease_given_back(container: Container, workspace: str) -> None:
    container.worker_loop().run(container.documents().insert("Here Ada met Bob.", document_id="a"), 60)
    row = row_of(workspace)
    assert (row["is_held"], row["drained"], row["waiting"]) == (False, 1, 0)


@pytest.mark.usefixtures("environment")
def test_files_are_in_one_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workspace: str) -> None:
    def insert(folder: str, key: str) -> None:
        monkeypatch.setenv("LIGHTRAG_WORKING_DIR", str(tmp_path / folder))
        container = create_container()
        try:
            container.worker_loop().run(container.documents().insert(f"Here Ada met {key}.", document_id=key), 60)
        finally:
            container.shutdown_resources()
            forget_shared_state()

    insert("one", "Bob")
    with pytest.raises(FilesElsewhereError, match=f"files in .*/one, not in .*/two here.*--files-moved {workspace}"):
        insert("two", "Eve")
    (tmp_path / "one").rename(tmp_path / "three")  # it takes its id along
    insert("three", "Dan")
    run("leases", "release", "--files-moved", workspace)
    insert("two", "Eve")


def test_a_worker_whose_files_are_elsewhere_does_not_start(
    container: Container, start_worker: StartWorker, tmp_path: Path
) -> None:
    container.worker_loop().run(container.rag().get(), 60)
    container.shutdown_resources()
    worker = start_worker(LIGHTRAG_WORKING_DIR=str(tmp_path / "elsewhere"))
    line = worker.failing_start()
    assert "has its files in" in line
    assert "use RedisKVStorage, RedisDocStatusStorage and Neo4JVectorStorage" in line


def test_a_lease_that_cannot_be_renewed_ends_the_work(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    workspace: str,
    neo4j_server: Server,
) -> None:
    """Another one takes it, in the middle of a document; both are done in the end, and the graph is right."""
    monkeypatch.setenv("APP_CONTAINER_CONFIG", config_with_model("slow"))
    monkeypatch.setenv("LIGHTRAG_LEASE_TERM", "1.5")
    assert environment
    container = create_container()

    async def run_both() -> Any:
        documents = container.documents()
        insertion = asyncio.create_task(documents.insert("Here Ada met Bob.", document_id="a"))
        await asyncio.sleep(0.7)
        await container.leases().release(workspace)
        return await insertion

    assert container.worker_loop().run(run_both(), 60)["status"] == "processed"
    names = {row["name"] for row in neo4j_server.query(f"MATCH (n:`{workspace}`) RETURN n.entity_id AS name")}
    assert names == {"Ada", "Bob"}
    container.shutdown_resources()
    forget_shared_state()
