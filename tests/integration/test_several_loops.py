"""A LightRAG of one's own for each ``asyncio.run`` of a process: none fails on another's locks."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lightrag.kg.shared_storage import initialize_share_data

from app_container import Container
from tests.support import business
from tests.support.workers import doc_status
from wiring.testing.fixtures import forget_shared_state

TEXTS = [
    [f"Here Person{n} met Person{n + k} in Room{n}, and wrote to Ada." for n in range(k, k + 6)] for k in (1, 20, 40)
]


@pytest.mark.parametrize("processes", [1, 2])
def test_every_document_is_processed_on_one_loop_after_the_other(
    container: Container, environment: dict[str, str], workspace: str, processes: int
) -> None:
    forget_shared_state()
    initialize_share_data(processes)
    container.wire(modules=[business])
    for texts in TEXTS:
        asyncio.run(business.learn(texts, workspace))
    assert [row["status"] for row in doc_status(environment).values()] == ["processed"] * 18


@pytest.mark.parametrize("processes", [1, 2])
def test_every_document_is_processed_on_two_loops_at_the_same_time(
    container: Container, environment: dict[str, str], workspace: str, other: str, processes: int
) -> None:
    forget_shared_state()
    initialize_share_data(processes)
    container.wire(modules=[business])
    Path(environment["LIGHTRAG_WORKING_DIR"]).mkdir()  # two at the same time would get into each other's way
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: asyncio.run(business.learn(TEXTS[0], name)), [workspace, other]))
    for name in (workspace, other):
        rows = doc_status(environment | {"LIGHTRAG_WORKSPACE": name})
        assert [row["status"] for row in rows.values()] == ["processed"] * 6
