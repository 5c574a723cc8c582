"""A LightRAG of one's own for each ``asyncio.run``, one after the other in a process: none fails on another's locks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from lightrag import LightRAG
from lightrag.utils import EmbeddingFunc

from app_container import Container
from tests.support.containers import forget_shared_state
from wiring.lightrag import register_storages
from wiring.lightrag.models import bundled_tokenizer
from wiring.lightrag.offline import DIMENSION, complete, embed

TEXTS = [
    [f"Here Person{n} met Person{n + k} in Room{n}, and wrote to Ada." for n in range(k, k + 6)] for k in (1, 20, 40)
]


@pytest.mark.parametrize("processes", [1, 2])
def test_every_document_is_processed(container: Container, workspace: str, tmp_path: Path, processes: int) -> None:
    from lightrag.kg.shared_storage import initialize_share_data

    forget_shared_state()
    initialize_share_data(processes)
    register_storages(container)

    async def learn(texts: list[str]) -> dict[str, Any]:
        rag = LightRAG(
            working_dir=str(tmp_path / "rag"),
            workspace=workspace,
            graph_storage="Neo4JHybridStorage",
            llm_model_func=complete,
            embedding_func=EmbeddingFunc(embedding_dim=DIMENSION, func=embed),
            tokenizer=bundled_tokenizer(),
        )
        await rag.initialize_storages()
        try:
            await rag.ainsert(texts)
            counts: dict[str, Any] = await rag.get_processing_status()
        finally:
            await rag.finalize_storages()
        return counts

    for n, texts in enumerate(TEXTS, 1):
        counts = asyncio.run(learn(texts))
        assert (counts["processed"], counts.get("failed", 0)) == (6 * n, 0)
