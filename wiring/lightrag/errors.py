"""What can be wrong with a document or a question. Each message is one line that says what to do."""

from __future__ import annotations

import asyncio

from app_container.errors import AppContainerError, PassingError
from app_container.transient import passing_cause


class InvalidDocumentError(AppContainerError, ValueError):
    """The text, id, workspace or question cannot be used; nothing was stored."""


class DocumentConflictError(AppContainerError):
    """The id or the path belongs to another document; nothing was stored."""


class DocumentFailedError(AppContainerError):
    """LightRAG could not process the document; it stays stored and can be inserted again."""


class DocumentPostponedError(DocumentFailedError, PassingError):
    """Neo4j or a storage failed while the document was processed; inserted again later, it will succeed."""


class DocumentTimeoutError(AppContainerError, TimeoutError):
    """It took longer than ``document_timeout``; a document that was being inserted stays stored."""


class WorkspaceBlockedError(PassingError):
    """LightRAG lets nobody change the workspace, because a process died in the middle of a deletion.

    It passes when that deletion is done again, which is what happens to a task whose process died.
    """


class WorkspaceUnavailableError(AppContainerError):
    """Nobody can be asked who works on the workspace, because Neo4j is away; its error is the cause."""


class LeaseLostError(PassingError):
    """Another process may have the workspace by now, so this one must not write to it any more."""


class DocumentNotFoundError(AppContainerError):
    """There is no such document."""


class EmptyWorkspaceError(AppContainerError):
    """A question was asked before anything was inserted."""


class QueryFailedError(AppContainerError):
    """LightRAG could not answer."""


def outcome_of(error: BaseException) -> str:
    """What became of a document that ``error`` ended, in one word, for figures.

    Returns:
        ``refused``, ``timed_out``, ``cancelled``, ``postponed`` (the error passes by itself), or ``failed``.
    """
    if isinstance(error, InvalidDocumentError | DocumentConflictError):
        return "refused"
    if isinstance(error, DocumentTimeoutError):
        return "timed_out"
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return "failed" if passing_cause(error) is None else "postponed"
