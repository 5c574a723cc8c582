"""The schema of a workspace, as the server tells it, and two ways to have it made."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from lightrag.kg.shared_storage import initialize_share_data

from app_container import Container
from tests.support.servers import Server
from wiring.lightrag import register_storages

COMMAND = str(Path(sys.executable).parent / "lightrag-neo4j")
TIMEOUT = 60.0

ONE = [("UNIQUENESS", ["entity_id"])]
"""What there is once a storage was initialized."""


def constraints(server: Server, workspace: str) -> list[tuple[str, list[str]]]:
    query = (
        "SHOW CONSTRAINTS YIELD type, labelsOrTypes, properties WHERE labelsOrTypes = [$label] RETURN type, properties"
    )
    return [(row["type"], row["properties"]) for row in server.query(query, label=workspace)]


def plain_indexes(server: Server, workspace: str) -> list[str]:
    query = (
        "SHOW RANGE INDEXES YIELD name, labelsOrTypes, owningConstraint "
        "WHERE labelsOrTypes = [$label] AND owningConstraint IS NULL RETURN name"
    )
    return [row["name"] for row in server.query(query, label=workspace)]


def initialize(container: Container, workspace: str, *, times: int = 1) -> None:
    initialize_share_data()  # what LightRAG's constructor does for its storages
    register_storages(container)
    from wiring.lightrag.storages import Neo4JHybridStorage

    async def main() -> None:
        storages = [Neo4JHybridStorage("graph", {}, None, workspace=workspace) for _ in range(times)]
        await asyncio.gather(*(storage.initialize() for storage in storages))

    container.worker_loop().run(main(), timeout=60)


def run(*arguments: str) -> tuple[int, str]:
    done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    return done.returncode, done.stderr or done.stdout
