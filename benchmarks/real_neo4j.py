"""What benchmarks share: a real Neo4j on this machine, a container on it, and a task of one query."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neo4j import Driver

from app_container.container import Container
from app_container.settings import Settings
from wiring.local_neo4j import LocalNeo4j


@contextmanager
def container_on_a_real_neo4j() -> Iterator[Container]:
    """The server is started, and stopped again; the container is closed before."""
    local = LocalNeo4j(Path(".lightrag/bench-neo4j"))
    server = local.start()
    container = Container()
    container.config.from_dict(
        Settings.model_validate({"neo4j": {"uri": server.uri, "password": server.password}}).model_dump()
    )
    try:
        yield container
    finally:
        container.shutdown_resources()
        local.stop()


def read(driver: Driver) -> None:
    """One query."""
    with driver.session() as session:
        session.run("RETURN 1").consume()


async def read_async(driver: Any) -> None:
    """The same on an event loop."""
    async with driver.session() as session:
        await (await session.run("RETURN 1")).consume()
