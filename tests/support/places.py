"""The probe that asks for a driver in every kind of place, and the log by which its drivers are counted."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from neo4j import AsyncDriver, Driver

from app_container import Container, create_container
from app_container.bridge import BridgedDriver
from app_container.execution import execution

LOG = "PLACES_LOG"
"""The environment variable with the file to which a process of a place writes what it opens and closes."""

SYNC, ASYNC, BRIDGED = "sync driver", "async driver", "sync driver, bridged"
_KINDS = {Driver: SYNC, AsyncDriver: ASYNC, BridgedDriver: BRIDGED}

_containers: dict[str, Container] = {}
_lock = threading.Lock()

Answer = list[str]
"""Which driver was given, and why. A list, for it travels as JSON."""


@dataclass(frozen=True)
class Place:
    """Where the probe asks how often, and the names of what a driver there may live as long as."""

    name: str
    asks: str = "10 asks"
    process: str = "the process"
    loop: str = "the loop"


@dataclass
class Visit:
    """What was seen in a place."""

    place: Place
    answers: list[Answer] = field(default_factory=list)
    opened: dict[str, int] = field(default_factory=dict)
    processes: int = 0
    connections: int | None = None

    @property
    def kinds(self) -> set[str]:
        return {kind for kind, _ in self.answers}

    @property
    def reasons(self) -> set[str]:
        return {reason for _, reason in self.answers}


class DriverLog:
    """What the processes of a place have logged about their drivers."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @property
    def text(self) -> str:
        return self.file.read_text() if self.file.exists() else ""

    def drivers(self, what: str, after: int = 0) -> list[tuple[str, int]]:
        """The drivers "opened" or "closed" after a position in the text, as kind and process."""
        found = re.findall(rf"{what} (Async)?\w*Driver .*process (\d+)", self.text[after:])
        return [(ASYNC if prefix else SYNC, int(pid)) for prefix, pid in found]


@contextmanager
def visiting(place: Place, log: DriverLog) -> Iterator[Visit]:
    """Note which drivers are opened while the block asks for them; it adds the answers."""
    before = len(log.text)
    visit = Visit(place)
    yield visit
    opened = log.drivers("opened", before)
    visit.opened = {kind: sum(kind == of for of, _ in opened) for kind in (SYNC, ASYNC)}
    visit.processes = len({pid for _, pid in opened})


def container_for(place: str) -> Container:
    """A container of its own for each place of a process, so that none finds the driver of another already open."""
    with _lock:
        if place not in _containers:
            _containers[place] = create_container()
        return _containers[place]


def ask(place: str) -> Answer:
    """Ask where nothing can be awaited, twice, and query with what was given."""
    for _ in range(2):
        driver: Any = container_for(place).driver()
        if not isinstance(driver, Driver):
            raise TypeError(f"sync code was given {driver!r}")
        records, _, _ = driver.execute_query("RETURN 42 AS answer")
        _check(records[0]["answer"])
    return _answer(driver)


async def ask_async(place: str) -> Answer:
    """The same in a coroutine."""
    for _ in range(2):
        driver: Any = container_for(place).driver()
        if isinstance(driver, Driver):
            raise TypeError(f"a coroutine was given {driver!r}")
        async with driver.session() as session:
            record = await (await session.run("RETURN 42 AS answer")).single()
        _check(record["answer"])
    return _answer(driver)


def own_connections(container: Container) -> int:
    """How many connections this process has to the server."""
    address = container.sync_driver().get_server_info().address
    return sum(bool(c.raddr) and c.raddr.port == address[1] for c in psutil.Process().net_connections("tcp"))


def _check(answer: int) -> None:
    if answer != 42:
        raise ValueError(f"the server answered {answer}")


def _answer(driver: Any) -> Answer:
    (kind,) = [name for driver_type, name in _KINDS.items() if isinstance(driver, driver_type)]
    return [kind, execution().reason]


def own_log() -> DriverLog:
    """The log of this process."""
    return DriverLog(Path(os.environ[LOG]))


def show(visits: list[Visit]) -> None:
    """Hand what a process saw to the one that started it."""
    print(json.dumps([asdict(visit) for visit in visits]))  # noqa: T201


def shown(rows: list[dict[str, Any]]) -> list[Visit]:
    """What ``show`` printed."""
    return [Visit(**row | {"place": Place(**row["place"])}) for row in rows]


def _write_log() -> None:
    handler = logging.FileHandler(os.environ[LOG])
    logger = logging.getLogger("app_container")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


if LOG in os.environ:
    _write_log()
