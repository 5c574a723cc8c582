"""LightRAG's vectors in Neo4j, beside the graph: one vector index for each workspace and kind of thing.

With this storage, and key-values and document status in Redis, PostgreSQL or another server, a workspace has no files,
so workers on any machine can work on it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dependency_injector.providers import Provider as ProviderType
from dependency_injector.wiring import Provide, Provider, inject
from lightrag.base import BaseVectorStorage
from lightrag.utils import compute_mdhash_id

from app_container.container import Container, latest_container
from app_container.errors import NotWiredError
from app_container.settings import Settings
from wiring.lightrag.gate import Gate, GatedDriver
from wiring.lightrag.schema import make, make_unique, quoted

ROWS_AT_ONCE = 200
"""Vectors in one statement; of 1,536 floats each, it is 2.4 MB."""

INDEX_TIMEOUT = 60
"""Seconds to wait for a new index, which is empty."""

ENDS = ("src_id", "tgt_id")
"""What relations have besides; they are found by it when an entity is deleted."""


@dataclass
class Neo4JVectorStorage(BaseVectorStorage):  # type: ignore[misc]  # LightRAG has no type information
    """Vectors as nodes with the label ``workspace/kind``, found by cosine similarity.

    What is inserted is embedded and written when LightRAG says that a document is done (``index_done_callback``), in
    few statements. Until then it can be read by its id here, but not found.
    """

    _pending: dict[str, dict[str, Any]] = field(default_factory=dict, init=False, repr=False)
    _driver_provider: ProviderType[Any] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Read what LightRAG configures."""
        self._validate_embedding_func()
        self.label = f"{self.workspace}/{self.namespace}"
        options = self.global_config.get("vector_db_storage_cls_kwargs", {})
        self.cosine_better_than_threshold = float(options.get("cosine_better_than_threshold", 0.2))
        self._batch_size = int(self.global_config.get("embedding_batch_num", 10))
        self._flushing = asyncio.Lock()

    @inject
    async def initialize(
        self,
        driver: ProviderType[Any] = Provider[Container.driver],
        settings: Settings = Provide[Container.settings],
    ) -> None:
        """Take the driver and make the indexes.

        Raises:
            ValueError: there are vectors of another dimension.
        """
        if not isinstance(driver, ProviderType):
            raise NotWiredError({__name__: "Neo4JVectorStorage.initialize"})
        self._gate, self._timeout = Gate(), settings.neo4j.transaction_timeout
        self._driver_provider, self._database = driver, settings.neo4j.database
        async with self._session() as session:
            await make_unique(session, self.label, "id")
            for end in ENDS if "src_id" in self.meta_fields else ():
                await make(session, f"CREATE INDEX IF NOT EXISTS FOR (n:{quoted(self.label)}) ON (n.{end})")
            await self._make_vector_index(session)

    async def _make_vector_index(self, session: Any) -> None:
        dimension = self.embedding_func.embedding_dim
        # Quantized, which is the default, similarities came out up to 0.07 too high, across LightRAG's threshold.
        create = (
            f"CREATE VECTOR INDEX {quoted(self.label)} IF NOT EXISTS FOR (n:{quoted(self.label)}) ON n.embedding "
            "OPTIONS {indexConfig: {`vector.dimensions`: $dimension, `vector.similarity_function`: 'cosine', "
            "`vector.quantization.enabled`: false}}"
        )
        await make(session, create, dimension=dimension)
        find = "SHOW VECTOR INDEXES YIELD name, options WHERE name = $name RETURN options.indexConfig AS config"
        found = await (await session.run(find, name=self.label)).single()
        if found["config"]["vector.dimensions"] != dimension:
            raise ValueError(
                f"embedding dim mismatch, expected: {dimension}, but loaded: {found['config']['vector.dimensions']}"
            )
        wait = "CALL db.awaitIndex($name, $seconds)"
        await (await session.run(wait, name=self.label, seconds=INDEX_TIMEOUT)).consume()

    def _session(self) -> Any:
        if self._driver_provider is None:
            raise RuntimeError("the vector storage is not initialized; await LightRAG.initialize_storages() first")
        return GatedDriver(self._driver_provider(), self._gate, self._timeout).session(database=self._database)

    async def upsert(self, data: dict[str, dict[str, Any]]) -> None:
        """Keep texts, by their ids, to be embedded and written when the document is done."""
        now = int(time.time())
        for key, row in data.items():
            kept = {name: value for name, value in row.items() if name in self.meta_fields}
            self._pending[key] = {**kept, "content": row["content"], "id": key, "created_at": now}

    async def index_done_callback(self) -> None:
        """Embed and write what was kept."""
        async with self._flushing:
            rows = list(self._pending.values())
            await self._embed(rows)
            for start in range(0, len(rows), ROWS_AT_ONCE):
                await self._write(
                    f"UNWIND $rows AS row MERGE (n:{quoted(self.label)} {{id: row.id}}) SET n = row",
                    rows=rows[start : start + ROWS_AT_ONCE],
                )
            for row in rows:
                if self._pending.get(row["id"]) is row:  # else it was inserted or deleted again meanwhile
                    del self._pending[row["id"]]

    async def drop_pending_index_ops(self) -> None:
        """Forget what was kept; its documents will be processed again."""
        self._pending.clear()

    async def query(self, query: str, top_k: int, query_embedding: list[float] | None = None) -> list[dict[str, Any]]:
        """The ``top_k`` things nearest to a text, the nearest first, with their cosine similarity as ``distance``."""
        if query_embedding is None:
            query_embedding = (await self.embedding_func([query], context="query", _priority=5))[0]
        statement = (
            "CALL db.index.vector.queryNodes($name, $top_k, $vector) YIELD node, score "
            "WITH node, 2 * score - 1 AS distance WHERE distance >= $threshold "
            "RETURN node {.*, embedding: null} AS found, distance ORDER BY distance DESC"
        )
        rows = await self._read(
            statement,
            name=self.label,
            top_k=top_k,
            vector=_floats(query_embedding),
            threshold=self.cosine_better_than_threshold,
        )
        return [{**_without_vector(row["found"]), "distance": row["distance"]} for row in rows]

    async def get_by_id(self, id: str) -> dict[str, Any] | None:  # noqa: A002 - LightRAG's name
        """What was inserted under an id, without its vector."""
        return (await self.get_by_ids([id]))[0]

    async def get_by_ids(self, ids: list[str]) -> list[dict[str, Any] | None]:
        """What was inserted under each id, without vectors; None where there is nothing."""
        found = {key: _without_vector(self._pending[key]) for key in ids if key in self._pending}
        if missing := [key for key in ids if key not in found]:
            statement = f"MATCH (n:{quoted(self.label)}) WHERE n.id IN $ids RETURN n {{.*, embedding: null}} AS found"
            for row in await self._read(statement, ids=missing):
                found[row["found"]["id"]] = _without_vector(row["found"])
        return [found.get(key) for key in ids]

    async def get_vectors_by_ids(self, ids: list[str]) -> dict[str, list[float]]:
        """The vectors of those ids that there are."""
        async with self._flushing:
            pending = [self._pending[key] for key in ids if key in self._pending]
            await self._embed(pending)
        found = {row["id"]: row["embedding"] for row in pending}
        if missing := [key for key in ids if key not in found]:
            statement = f"MATCH (n:{quoted(self.label)}) WHERE n.id IN $ids RETURN n.id AS id, n.embedding AS vector"
            found |= {row["id"]: row["vector"] for row in await self._read(statement, ids=missing)}
        return found

    async def delete(self, ids: list[str]) -> None:
        """Delete what is under the ids, at once."""
        if ids:
            await self._write(f"MATCH (n:{quoted(self.label)}) WHERE n.id IN $ids DETACH DELETE n", ids=list(ids))
        for key in ids:
            self._pending.pop(key, None)

    async def delete_entity(self, entity_name: str) -> None:
        """Delete the vector of an entity, at once."""
        await self.delete([compute_mdhash_id(entity_name, prefix="ent-")])

    async def delete_entity_relation(self, entity_name: str) -> None:
        """Delete the vectors of an entity's relations, at once."""
        await self._write(
            f"MATCH (n:{quoted(self.label)}) WHERE n.src_id = $name OR n.tgt_id = $name DETACH DELETE n",
            name=entity_name,
        )
        for key, row in list(self._pending.items()):
            if entity_name in (row.get("src_id"), row.get("tgt_id")):
                del self._pending[key]

    async def drop(self) -> dict[str, str]:
        """Delete all vectors of this kind in the workspace."""
        self._pending.clear()
        try:
            await self._write(f"MATCH (n:{quoted(self.label)}) DETACH DELETE n")
        except Exception as error:  # noqa: BLE001 - LightRAG wants to be told in words
            return {"status": "error", "message": str(error)}
        return {"status": "success", "message": "data dropped"}

    async def _embed(self, rows: list[dict[str, Any]]) -> None:
        rows = [row for row in rows if "embedding" not in row]
        batches = [rows[start : start + self._batch_size] for start in range(0, len(rows), self._batch_size)]
        texts = [[row["content"] for row in batch] for batch in batches]
        vectors = await asyncio.gather(*(self.embedding_func(each, context="document") for each in texts))
        for batch, embedded in zip(batches, vectors, strict=True):
            for row, vector in zip(batch, embedded, strict=True):
                row["embedding"] = _floats(vector)

    async def _write(self, statement: str, **parameters: Any) -> None:
        async def work(transaction: Any) -> None:
            await (await transaction.run(statement, parameters)).consume()

        async with self._session() as session:
            await session.execute_write(work)

    async def _read(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        async def work(transaction: Any) -> Any:
            return await (await transaction.run(statement, parameters)).data()

        async with self._session() as session:
            rows: list[dict[str, Any]] = await session.execute_read(work)
            return rows


def _floats(vector: Any) -> list[float]:
    """A list, which the driver sends six times as fast as numpy's own."""
    numbers: list[float] = np.asarray(vector, dtype=np.float32).tolist()
    return numbers


def _without_vector(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "embedding"}


if container := latest_container():
    container.wire(modules=[__name__])
