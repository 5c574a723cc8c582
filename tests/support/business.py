"""A user's own code: LightRAG on the hybrid storage, and queries beside it.

It says what it wants to receive, and knows neither Celery nor Prefect nor FastAPI, nor whether its loop lasts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dependency_injector.wiring import Provide, inject
from lightrag import LightRAG
from lightrag.utils import EmbeddingFunc
from neo4j import Driver

from app_container import Container
from app_container.execution import Execution
from wiring.lightrag import register_storages
from wiring.lightrag.models import bundled_tokenizer
from wiring.lightrag.offline import DIMENSION, complete, embed

register_storages()


@inject
async def learn(
    texts: list[str],
    workspace: str,
    folder: Path = Provide[Container.settings.provided.lightrag.working_dir],
) -> Execution:
    """Put texts into the graph of a workspace, with a LightRAG for this call; returns the mode of its storage."""
    rag = LightRAG(
        working_dir=str(folder),
        workspace=workspace,
        graph_storage="Neo4JHybridStorage",
        llm_model_func=complete,
        embedding_func=EmbeddingFunc(embedding_dim=DIMENSION, func=embed),
        tokenizer=bundled_tokenizer(),
    )
    await rag.initialize_storages()
    try:
        await rag.ainsert(texts)
        mode: Execution = rag.chunk_entity_relation_graph.mode()
    finally:
        await rag.finalize_storages()
    return mode


@inject
async def count_mentions(workspace: str, driver: Any = Provide[Container.driver]) -> int:
    """Write to each entity in how many places it is mentioned; returns the sum."""

    async def count(transaction: Any) -> int:
        result = await transaction.run(
            f"MATCH (n:`{workspace}`) SET n.mentions = size(split(n.source_id, '<SEP>')) RETURN sum(n.mentions) AS all"
        )
        return int((await result.single())["all"])

    async with driver.session() as session:
        counted: int = await session.execute_write(count)
    return counted


@inject
def rank(workspace: str, driver: Driver = Provide[Container.sync_driver]) -> str:
    """Write to each entity how many relations it has; returns the entity that has the most."""
    records, _, _ = driver.execute_query(
        f"MATCH (n:`{workspace}`) SET n.relations = COUNT {{ (n)--() }} "
        "WITH n ORDER BY n.relations DESC, n.entity_id RETURN collect(n.entity_id)[0] AS first"
    )
    return str(records[0]["first"])
