"""A document that is stored at the moment in which the lease goes from one process to another is processed, once.

The moment is forced: the first process is held where it has found nothing more to do and is about to give the lease
back, until the second one, which is another worker as far as LightRAG can see, has come as far as the test says.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app_container import Container, create_container
from tests import PROJECT
from tests.support.brokers import BROKERS
from tests.support.fault_runs import read_calls
from tests.support.models import config_with_model
from tests.support.two_workers import shared_storages
from tests.support.waiting import stop_process
from wiring.lightrag.leases.store import LeaseState, LeaseStore
from wiring.testing.fixtures import forget_shared_state
from wiring.testing.waiting import until


class Second:
    """The process that inserts document b, with a parent and a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.support.late_asker", "Here Eve met Dan in Room2.", "b"]
        environment = os.environ | {"LIGHTRAG_WORKING_DIR": str(self._folder / "other"), "PYTHONPATH": str(PROJECT)}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def let_it_ask(self) -> None:
        (self._folder / "may_ask").touch()

    def status(self) -> str:
        """What it says of its document at its end."""
        assert self.process is not None
        return self.process.communicate(timeout=60)[0]


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Second]:
    second = Second(tmp_path)
    yield second
    if second.process is not None:
        second.process.kill()
        second.process.wait(10)


@pytest.fixture
def first(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Container]:
    """The container of this process, which is the first to hold the lease."""
    assert environment
    broker = BROKERS["redis"](tmp_path)
    broker.start()
    settings = shared_storages(broker.url) | {
        "APP_CONTAINER_CONFIG": config_with_model("watched"),
        "MODEL_CALLS": str(tmp_path / "model_calls"),
        "MODEL_SECONDS": "0.1",
        "MAY_ASK": str(tmp_path / "may_ask"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    container = create_container()
    yield container
    container.shutdown_resources()
    forget_shared_state()
    broker.close()


def insert_and_hold_the_end(
    container: Container, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]
) -> None:
    """Insert document a, and do ``meanwhile`` when the process is about to give the lease back for the first time."""
    give_back = LeaseStore.give_back
    has_held = asyncio.Event()

    async def give_back_later(store: LeaseStore, *args: Any, **kwargs: Any) -> Any:
        if not has_held.is_set():
            await asyncio.to_thread(meanwhile)
            has_held.set()
        return await give_back(store, *args, **kwargs)

    async def insert() -> Any:
        found = await container.documents().insert("Here Ada met Bob in Room1.", document_id="a")
        await asyncio.wait_for(has_held.wait(), 60)
        return found["status"]

    monkeypatch.setattr(LeaseStore, "give_back", give_back_later)
    assert container.worker_loop().run(insert(), 120) == "processed"


async def read_status_of_b(container: Container) -> str | None:
    row = await (await container.rag().get()).doc_status.get_by_id("b")
    return None if row is None else str(row["status"])


def status_of_b(container: Container) -> str | None:
    return container.worker_loop().run(read_status_of_b(container), 30)


def lease_of(container: Container) -> LeaseState:
    workspace = container.settings().lightrag.workspace
    leases = container.worker_loop().run(container.leases().list(), 30)
    return next(lease for lease in leases if lease.workspace == workspace)


def readers(folder: Path) -> dict[str, list[int]]:
    """The processes in which the model has read each document."""
    found: dict[str, list[int]] = {}
    for call in read_calls(folder / "model_calls"):
        found.setdefault(call.document, []).append(call.pid)
    return found


def test_who_stands_in_line_before_the_lease_is_free_is_served_by_its_holder(
    first: Container, second: Second, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def come() -> None:
        second.start()
        second.let_it_ask()
        until(lambda: lease_of(first).waiting == 1)
        stop_process(second.pid)  # so that nobody but the first can do it

    insert_and_hold_the_end(first, monkeypatch, come)
    until(lambda: status_of_b(first) == "processed")
    os.kill(second.pid, signal.SIGCONT)
    assert second.status() == "processed"
    assert readers(tmp_path) == {"doc1": [os.getpid()], "doc2": [os.getpid()]}


def test_who_asks_after_the_lease_is_free_does_it_itself(
    first: Container, second: Second, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def store() -> None:
        second.start()
        until(lambda: status_of_b(first) == "pending")

    insert_and_hold_the_end(first, monkeypatch, store)
    until(lambda: not lease_of(first).is_held)
    assert status_of_b(first) == "pending"
    second.let_it_ask()
    assert second.status() == "processed"
    assert readers(tmp_path) == {"doc1": [os.getpid()], "doc2": [second.pid]}


def test_who_stands_in_line_is_served_while_the_holder_has_a_stream_of_its_own(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    monkeypatch.setenv("LIGHTRAG_LEASE_TERM", "1.5")
    first, second = request.getfixturevalue("first"), request.getfixturevalue("second")
    numbers, left, has_come = itertools.count(10), 40, False
    workspace = first.settings().lightrag.workspace

    async def is_waited_for() -> bool:
        return any(lease.waiting for lease in await first.leases().list() if lease.workspace == workspace)

    async def stream(begins: float) -> None:
        nonlocal left, has_come
        await asyncio.sleep(begins)  # so that there is never a moment in which none is at work
        while left > 0:
            has_come = has_come or await is_waited_for()
            left -= has_come
            number = next(numbers)
            await first.documents().insert(f"Here Ada{number} met Bob in Room{number}.", document_id=str(number))

    async def streams() -> str | None:
        running = [asyncio.create_task(stream(0.13 * n)) for n in range(4)]
        await asyncio.sleep(1.0)
        second.start()
        second.let_it_ask()
        await asyncio.gather(*running)
        return await read_status_of_b(first)

    assert first.worker_loop().run(streams(), 120) == "processed"
    assert second.status() == "processed"
    assert readers(tmp_path)["doc2"] == [os.getpid()]
