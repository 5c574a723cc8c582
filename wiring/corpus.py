"""Where documents come from: files the user names, and, for the demo, the packages that are installed anyway."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from app_container.errors import ConfigurationError, Problem
from wiring.runner import Document

SUFFIXES = frozenset({".md", ".markdown", ".rst", ".txt"})

_SHORT, _LONG = 400, 12_000  # characters; a longer description would make the demo about one package


class UsageError(ConfigurationError):
    """The command was called with arguments that cannot be used."""


def read_files(
    paths: Sequence[Path], document_id: str | None, max_bytes: int
) -> tuple[list[Document], list[tuple[str, str]]]:
    """The documents in ``paths``: files as they are, and of folders the text files in them.

    Args:
        paths: files and folders.
        document_id: id of the document, when there is one only.
        max_bytes: the size from which a file is not read.

    Returns:
        The documents, and the files that cannot be one, each with the reason.

    Raises:
        UsageError: a path does not exist, a folder has no text files, or one id was given for several files.
    """
    problems = [Problem(str(path), "", (), "does not exist", "check the path") for path in paths if not path.exists()]
    files: list[Path] = []
    for path in paths:
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if path.is_dir() and not found:
            known = ", ".join(sorted(SUFFIXES))
            problems.append(Problem(str(path), "", (), f"has no files that end in {known}", "name the files"))
        files += found
    files = list(dict.fromkeys(files))
    if document_id is not None and len(files) > 1:
        fix = "an id belongs to one document; insert them one by one"
        problems.append(Problem("--document-id", "", (), f"{document_id!r} was given for {len(files)} files", fix))
    if problems:
        raise UsageError(*problems)
    documents, unusable = [], []
    for path in files:
        try:
            documents.append(Document(_read(path, max_bytes), path.as_posix(), document_id))
        except ValueError as error:
            unusable.append((str(path), str(error)))
    return documents, unusable


def installed_packages(limit: int) -> list[Document]:
    """The descriptions (READMEs) of the Python packages in this environment, up to ``limit``, by name."""
    texts: dict[str, str] = {}
    for distribution in distributions():
        metadata: Any = distribution.metadata  # an email message, whatever its type promises
        text = metadata.get_payload() or metadata.get("Description") or ""
        if _SHORT <= len(text) <= _LONG and text not in texts.values():
            texts[re.sub(r"[-_.]+", "-", distribution.name).lower()] = text
    return [Document(texts[name], f"{name}/README", name) for name in sorted(texts)[:limit]]


def _read(path: Path, max_bytes: int) -> str:
    try:
        if (size := path.stat().st_size) > max_bytes:
            reason = f"has {size:,} bytes and lightrag.max_document_bytes is {max_bytes:,}; split it, or raise that"
            raise ValueError(reason)
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text; extract its text, or convert it to UTF-8") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if "\x00" in text:
        raise ValueError("contains NUL bytes, so it is not text; extract its text first")
    if not text.strip():
        raise ValueError("is empty; there is nothing to insert")
    return text
