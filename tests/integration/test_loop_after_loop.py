"""A LightRAG of one's own for each ``asyncio.run``, one after the other in a process: none fails on another's locks."""

from __future__ import annotations

import asyncio

import pytest
from lightrag.kg.shared_storage import initialize_share_data

from app_container import Container
from tests.support import business
from tests.support.containers import forget_shared_state
from tests.support.workers import doc_status

TEXTS = [
    [f"Here Person{n} met Person{n + k} in Room{n}, and wrote to Ada." for n in range(k, k + 6)] for k in (1, 20, 40)
]


@pytest.mark.parametrize("processes", [1, 2])
def test_every_document_is_processed(
    container: Container, environment: dict[str, str], workspace: str, processes: int
) -> None:
    forget_shared_state()
    initialize_share_data(processes)
    container.wire(modules=[business])
    for texts in TEXTS:
        asyncio.run(business.learn(texts, workspace))
    assert [row["status"] for row in doc_status(environment).values()] == ["processed"] * 18
