from __future__ import annotations

import os
from pathlib import Path

import pytest

from wiring.corpus import UsageError, installed_packages, read_files


def test_files_and_folders_are_read() -> None:
    Path("docs/deep").mkdir(parents=True)
    for name in ("a.md", "docs/b.txt", "docs/deep/c.rst", "docs/skip.png"):
        Path(name).write_text(f"text of {name}")
    documents, unusable = read_files([Path("docs"), Path("a.md"), Path("a.md")], None, 1000)
    assert [document.file_path for document in documents] == ["docs/b.txt", "docs/deep/c.rst", "a.md"]
    assert documents[0].text == "text of docs/b.txt"
    assert unusable == []


def test_a_file_that_cannot_be_a_document_is_told_and_the_others_are_read() -> None:
    Path("empty.md").write_text(" \n")
    Path("binary.md").write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    Path("nul.md").write_bytes(b"a\x00b")
    Path("large.md").write_text("x" * 5_000_000)
    Path("good.md").write_text("good")
    documents, unusable = read_files([Path()], None, 4_000_000)
    assert [document.file_path for document in documents] == ["good.md"]
    assert dict(unusable) == {
        "binary.md": "is not UTF-8 text; extract its text, or convert it to UTF-8",
        "empty.md": "is empty; there is nothing to insert",
        "large.md": "has 5,000,000 bytes and lightrag.max_document_bytes is 4,000,000; split it, or raise that",
        "nul.md": "contains NUL bytes, so it is not text; extract its text first",
    }


def test_paths_that_are_wrong_are_told_before_anything_is_read() -> None:
    Path("folder").mkdir()
    with pytest.raises(UsageError) as caught:
        read_files([Path("missing.md"), Path("folder")], None, 1000)
    assert str(caught.value).splitlines() == [
        "missing.md: does not exist; check the path",
        "folder: has no files that end in .markdown, .md, .rst, .txt; name the files",
    ]


def test_what_is_hidden_and_what_is_no_file_is_left_out_of_a_folder() -> None:
    for folder in ("docs/.venv", "docs/folder.md"):
        Path(folder).mkdir(parents=True)
    for name in ("docs/a.md", "docs/.hidden.md", "docs/.venv/b.md"):
        Path(name).write_text("text")
    os.mkfifo("docs/pipe.md")
    documents, unusable = read_files([Path("docs")], None, 1000)
    assert [document.file_path for document in documents] == ["docs/a.md"]
    assert unusable == []
    assert read_files([Path("docs/pipe.md")], None, 1000)[1] == [("docs/pipe.md", "is not a file")]


def test_a_path_that_cannot_be_looked_at_is_told() -> None:
    with pytest.raises(UsageError, match="cannot be read: File name too long; check the path"):
        read_files([Path("x" * 300)], None, 1000)


def test_one_id_for_two_files_is_refused() -> None:
    for name in ("a.md", "b.md"):
        Path(name).write_text(name)
    with pytest.raises(UsageError, match="--document-id: 'x' was given for 2 files; an id belongs to one document"):
        read_files([Path("a.md"), Path("b.md")], "x", 1000)


def test_the_installed_packages_are_a_corpus() -> None:
    documents = installed_packages(60)
    assert len(documents) >= 40
    assert len({document.document_id for document in documents}) == len(documents)
    assert installed_packages(60) == documents
