"""What can be a document or a question, and what a document is called that was given no name."""

from __future__ import annotations

import hashlib
from pathlib import PurePath

from wiring.lightrag.errors import InvalidDocumentError


def source_name(file_path: str | None) -> str | None:
    """The name LightRAG keeps for ``file_path``: the path, with ``__`` between its parts.

    LightRAG drops the folders and then takes ``a/README.md`` and ``b/README.md`` for one document.
    """
    if file_path is None or not str(file_path).strip():
        return None
    parts = [part for part in PurePath(str(file_path).strip()).parts if part not in ("/", ".", "..")]
    return "__".join(parts) or None


def make_document_id(text: str, source: str | None) -> str:
    """The id of a document that was given none: the same each time it is inserted."""
    return "doc-" + hashlib.md5((source or text.strip()).encode(), usedforsecurity=False).hexdigest()


def check_document(text: str, document_id: str | None, max_bytes: int) -> None:
    """Refuse what cannot become a document.

    Raises:
        InvalidDocumentError: the text is empty, binary or too large, or the id is no name.
    """
    if not isinstance(text, str):
        raise InvalidDocumentError(f"the document is {type(text).__name__}, not text; decode it first")
    if flaw := flaw_of_text(text) or flaw_of_size(len(text.encode(errors="replace")), max_bytes):
        raise InvalidDocumentError(f"the document {flaw}")
    if document_id is not None:
        check_document_id(document_id)


def flaw_of_text(text: str) -> str | None:
    """Why ``text`` cannot be a document, as the end of a sentence about it; None if it can."""
    if not text.strip():
        return "is empty; there is nothing to insert"
    if "\x00" in text:
        return "contains NUL bytes, so it is not text; extract its text first"
    return None


def flaw_of_size(size: int, max_bytes: int) -> str | None:
    """Why a document of ``size`` bytes is refused, in the same form."""
    if size <= max_bytes:
        return None
    return f"has {size:,} bytes and lightrag.max_document_bytes is {max_bytes:,}; split it, or raise that"


def check_question(text: str) -> None:
    """Refuse what cannot be a question.

    Raises:
        InvalidDocumentError: it is empty.
    """
    if not isinstance(text, str) or not text.strip():
        raise InvalidDocumentError("the question is empty; ask something")


def check_document_id(document_id: str) -> None:
    """Refuse what cannot be a document's id.

    Raises:
        InvalidDocumentError: it is empty, or not printable text.
    """
    if not isinstance(document_id, str) or not document_id.strip() or not document_id.isprintable():
        raise InvalidDocumentError(f"document id {document_id!r} is not a name; use printable characters")
