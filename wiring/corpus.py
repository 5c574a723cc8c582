"""Where documents come from: files the user names, and, for the demo, the packages that are installed anyway."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from app_container.errors import ConfigurationError, Problem
from wiring.lightrag.document_checks import flaw_of_size, flaw_of_text
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
        The documents, and the files that cannot be one, each with the reason. Hidden files of a folder are left out.

    Raises:
        UsageError: a path does not exist or cannot be looked at, a folder has no text files, or one id was given for
            several files.
    """
    problems: list[Problem] = []
    files: list[Path] = []
    for path in paths:
        try:
            found = _files_in(path) if stat.S_ISDIR(path.stat().st_mode) else [path]
        except OSError as error:
            is_missing = isinstance(error, FileNotFoundError)
            reason = "does not exist" if is_missing else f"cannot be read: {error.strerror}"
            problems.append(Problem(str(error.filename or path), "", (), reason, "check the path"))
            continue
        if not found:
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


def _files_in(folder: Path) -> list[Path]:
    """The text files below ``folder``, without hidden ones and those in hidden folders, such as ``.venv``."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(parent, name) for name in sorted(names) if not name.startswith("."))
        found += [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]
    return found


def _raise(error: OSError) -> None:
    raise error


def _read(path: Path, max_bytes: int) -> str:
    try:
        if not path.is_file():  # reading a pipe could wait for ever
            raise ValueError("is not a file")
        if flaw := flaw_of_size(path.stat().st_size, max_bytes):
            raise ValueError(flaw)
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text; extract its text, or convert it to UTF-8") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if flaw := flaw_of_text(text):
        raise ValueError(flaw)
    return text
