"""How often the processing of each document was cut by the death of a process; known to all processes of a worker.

A document that was cut again and again is suspected to be what kills the processes. So it is processed where its own
task waits, alone, and its death takes nobody along. To get there it asks for its turn.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from lightrag.kg.shared_storage import get_namespace_data

SUSPECT_AFTER = 2
"""How often a document is interrupted before it is suspected; a single interruption is more often bad luck."""

TURN_KEPT = 5.0
"""Seconds for which a turn that was asked for is kept free; who still waits for it has asked again by then."""

_ORDERLY = "the last run ended in an orderly way"
"""Kept among the documents; LightRAG's ids of documents have no blanks, and ours are no sentences."""


async def find_suspects(workspace: str, unfinished: Iterable[str]) -> set[str]:
    """Count that ``unfinished`` were found so when a run began, unless the run before was ended on purpose.

    Returns:
        All documents that were interrupted ``SUSPECT_AFTER`` times or more.
    """
    counts = await _counts(workspace)
    found = set(unfinished)
    if not counts.pop(_ORDERLY, False) and found:
        counts.update({key: counts.get(key, 0) + 1 for key in found})
    return _suspects(counts)


async def note_orderly_end(workspace: str) -> None:
    """The run is ended on purpose, so what it leaves unfinished was not cut by a death."""
    (await _counts(workspace))[_ORDERLY] = True


async def forget_interruptions(workspace: str, document: str) -> None:
    """The document is processed, or gone."""
    (await _counts(workspace)).pop(document, None)


async def ask_for_turn(workspace: str, documents: Iterable[str]) -> None:
    """Somebody waits here for ``documents``; those of them that are suspected need the workspace for themselves."""
    if suspects := _suspects(await _counts(workspace)) & set(documents):
        (await _turns(workspace)).update(dict.fromkeys(suspects, time.monotonic()))


async def take_turn(workspace: str, document: str) -> None:
    """The turn that was asked for has come."""
    (await _turns(workspace)).pop(document, None)


async def is_turn_asked_for(workspace: str, documents: Iterable[str]) -> bool:
    """Whether somebody who waits for one of ``documents``, in another process, has asked for its turn a moment ago."""
    now = time.monotonic()  # the same for all processes of a machine
    asked = (await _turns(workspace)).copy()
    return any(now - asked[key] < TURN_KEPT for key in documents if key in asked)


def _suspects(counts: Any) -> set[str]:
    return {key for key, times in counts.copy().items() if key != _ORDERLY and times >= SUSPECT_AFTER}


async def _counts(workspace: str) -> Any:
    return await get_namespace_data("lightrag_neo4j_interruptions", workspace=workspace)


async def _turns(workspace: str) -> Any:
    return await get_namespace_data("lightrag_neo4j_turns", workspace=workspace)
