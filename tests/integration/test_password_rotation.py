"""The password is changed, in the server and in its file, while drivers and a worker use it."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from neo4j import GraphDatabase
from neo4j.exceptions import AuthError, ClientError

from app_container import Container
from app_container.drivers import check_connection, open_sync_driver
from app_container.errors import ServerUnavailableError
from app_container.transient import passing_cause
from tests.support.servers import Server
from tests.support.workers import StartWorker
from wiring.testing.fixtures import Environment
from wiring.testing.waiting import until


@dataclass
class User:
    """A user of the test's own, whose password is in a file."""

    server: Server
    name: str
    password: str = field(repr=False)
    file: Path

    def change_in_server(self) -> str:
        """Give the server a new password, as the user; returns the old one."""
        old, self.password = self.password, uuid.uuid4().hex
        with GraphDatabase.driver(self.server.uri, auth=(self.name, old)) as driver:
            change = "ALTER CURRENT USER SET PASSWORD FROM $old TO $new"
            driver.execute_query(change, old=old, new=self.password, database_="system")
        return old

    def write_file(self) -> None:
        """Replace the file as a whole, as the documentation says."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{self.password}\n")
        new.rename(self.file)

    def connections(self) -> set[str]:
        rows = self.server.query("CALL dbms.listConnections() YIELD connectionId, username")
        return {row["connectionId"] for row in rows if row["username"] == self.name}


@pytest.fixture
def user(neo4j_server: Server, tmp_path: Path) -> Iterator[User]:
    user = User(neo4j_server, f"user{uuid.uuid4().hex[:12]}", uuid.uuid4().hex, tmp_path / "password")
    user.write_file()
    create = f"CREATE USER {user.name} SET PASSWORD $password CHANGE NOT REQUIRED"
    neo4j_server.query(create, password=user.password)
    yield user
    neo4j_server.query(f"DROP USER {user.name}")


@pytest.fixture
def neo4j_environment(neo4j_environment: dict[str, str], user: User, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr("app_container.credentials._is_in_file", False)  # other tests have no file
    monkeypatch.delenv("NEO4J_PASSWORD")
    own = {"NEO4J_USERNAME": user.name, "NEO4J_PASSWORD_FILE": str(user.file)}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    return Environment({name: value for name, value in neo4j_environment.items() if name != "NEO4J_PASSWORD"} | own)


class Writers:
    """Write nodes all the time, one after the other on each kind of driver, and count them."""

    def __init__(self, container: Container, label: str) -> None:
        self._query = f"CREATE (:`{label}`)"
        self._container = container
        self._stopped = threading.Event()
        self._threads = ThreadPoolExecutor()
        ways = {"sync": self._sync, "async": self._async, "bridge": self._bridged}
        self.written = dict.fromkeys(ways, 0)
        self._works = [self._threads.submit(way) for way in ways.values()]

    def until_more(self) -> None:
        before = dict(self.written)
        until(lambda: self._have_written(before), told=lambda: str(before))

    def stop(self) -> None:
        self._stopped.set()
        for work in self._works:
            work.result(60)
        self._threads.shutdown()

    def _have_written(self, before: dict[str, int]) -> bool:
        if wait(self._works, 0, FIRST_EXCEPTION).done:
            self.stop()  # raises what ended it
        return all(self.written[way] >= count + 20 for way, count in before.items())

    def _sync(self) -> None:
        driver = self._container.sync_driver()
        while not self._stopped.wait(0.01):
            with driver.session() as session:
                session.execute_write(lambda transaction: transaction.run(self._query).consume())
            self.written["sync"] += 1

    def _async(self) -> None:
        self._container.worker_loop().run(self._await("async", self._container.async_driver))

    def _bridged(self) -> None:
        asyncio.run(self._await("bridge", self._container.bridged_driver))

    async def _await(self, way: str, driver: Callable[[], Any]) -> None:
        async def work(transaction: Any) -> None:
            await (await transaction.run(self._query)).consume()

        while not self._stopped.is_set():
            async with driver().session() as session:
                await session.execute_write(work)
            self.written[way] += 1
            await asyncio.sleep(0.01)


async def in_async_driver(container: Container, query: str) -> list[list[Any]]:
    records, _, _ = await container.async_driver().execute_query(query)
    return [record.values() for record in records]


def test_nothing_is_lost_on_drivers_that_stay(
    container: Container, neo4j_server: Server, workspace: str, user: User
) -> None:
    driver = container.sync_driver()
    writers = Writers(container, workspace)
    try:
        writers.until_more()
        connections = user.connections()
        for _ in range(2):
            old = user.change_in_server()
            writers.until_more()
            user.write_file()
            writers.until_more()
    finally:
        writers.stop()
    assert connections
    assert connections <= user.connections()
    (row,) = neo4j_server.query(f"MATCH (n:`{workspace}`) RETURN count(n) AS nodes")
    assert row["nodes"] == sum(writers.written.values())

    neo4j_server.query("CALL dbms.killConnections($ids)", ids=list(user.connections()))
    assert driver.execute_query("RETURN 1 AS one").records[0]["one"] == 1
    assert container.sync_driver() is driver
    assert container.worker_loop().run(in_async_driver(container, "RETURN 1 AS one"), timeout=60) == [[1]]
    assert len(user.connections() - connections) >= 2

    assert check_connection(container.settings().neo4j).startswith("Neo4j/")
    assert container.health().ready_sync().ready
    with GraphDatabase.driver(neo4j_server.uri, auth=(user.name, old)) as refused, pytest.raises(AuthError):
        refused.verify_connectivity()


def test_what_is_refused_in_between_passes(container: Container, user: User) -> None:
    settings = container.settings().neo4j
    user.change_in_server()
    with open_sync_driver(settings) as driver:
        for _ in range(5):  # the last ones because the server has locked the user
            with pytest.raises(ClientError) as caught:
                driver.execute_query("RETURN 1")
            assert passing_cause(caught.value) is caught.value
    with pytest.raises(ServerUnavailableError) as told:
        check_connection(settings)
    assert f"the right password in '{user.file}'" in str(told.value)


def test_a_password_that_is_in_no_file_is_refused_for_good(container: Container) -> None:
    settings = container.settings().neo4j
    wrong = type(settings).model_validate(settings.model_dump() | {"password": "a-wrong-one"})
    with open_sync_driver(wrong) as driver, pytest.raises(AuthError) as caught:
        driver.execute_query("RETURN 1")
    assert passing_cause(caught.value) is None


def test_a_worker_goes_on(start_worker: StartWorker, user: User) -> None:
    # Its connections do not last, so that it needs new ones in between.
    worker = start_worker("--concurrency", "1", NEO4J_MAX_CONNECTION_LIFETIME="0.2")
    app = worker.until_found()._app

    def insert(number: int) -> Any:
        return app.send_task(
            "lightrag.insert_document", [f"Ada met Bob in Room{number}."], {"document_id": f"d{number}"}
        )

    assert insert(1).get(timeout=60)["status"] == "processed"
    old = user.change_in_server()
    second = insert(2)
    until(lambda: second.state == "RETRY", told=worker.end_of_log)
    user.write_file()
    assert second.get(timeout=60)["status"] == "processed"
    assert insert(3).get(timeout=60)["status"] == "processed"
    assert worker.stop() == 0
    assert f"the password in {user.file} has changed" in worker.log
    assert "Traceback" not in worker.log
    assert old not in worker.log
    assert user.password not in worker.log
