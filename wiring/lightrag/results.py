"""What becomes of documents and questions, as JSON: what tasks return and the command prints.

FastAPI can return them, too: pydantic asks for the ``TypedDict`` of ``typing_extensions`` before Python 3.12.
"""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

QueryMode = Literal["mix", "hybrid", "local", "global", "naive", "bypass"]


class Inserted(TypedDict):
    """What became of a document: processed now, there already, or the same text as ``duplicate_of``."""

    document_id: str
    workspace: str
    status: Literal["processed", "unchanged", "duplicate"]
    duplicate_of: str | None
    chunks: int
    seconds: float


class Deleted(TypedDict):
    """A document that is gone."""

    document_id: str
    workspace: str
    status: Literal["deleted"]


class Answer(TypedDict):
    """The answer to a query, and how much of the graph it rests on."""

    answer: str
    mode: str
    workspace: str
    entities: int
    relationships: int
    chunks: int
    references: list[str]
