"""How often the processing of each document was cut by the death of a process; known to all processes of a worker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightrag.kg.shared_storage import get_namespace_data

_ORDERLY = "the last run ended in an orderly way"
"""Kept among the documents; LightRAG's ids of documents have no blanks, and ours are no sentences."""


async def count_interruptions(workspace: str, documents: Iterable[str]) -> dict[str, int]:
    """Count that ``documents`` were found unfinished when a run began, unless the run before was ended on purpose.

    Returns:
        How often each was interrupted so far; of ``documents`` only if they were counted, and of all others.
    """
    counts = await _counts(workspace)
    was_orderly = counts.pop(_ORDERLY, False)
    found = set(documents)
    if not was_orderly:
        counts.update({key: counts.get(key, 0) + 1 for key in found})
    return {key: times for key, times in counts.copy().items() if not (was_orderly and key in found)}


async def note_orderly_end(workspace: str) -> None:
    """The run is ended on purpose, so what it leaves unfinished was not cut by a death."""
    (await _counts(workspace))[_ORDERLY] = True


async def forget_interruptions(workspace: str, document: str) -> None:
    """The document is processed, or gone."""
    (await _counts(workspace)).pop(document, None)


async def _counts(workspace: str) -> Any:
    return await get_namespace_data("lightrag_neo4j_interruptions", workspace=workspace)
