from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from app_container import AppContainerError
from app_container.settings import LightRAGSettings
from wiring.lightrag.document_checks import check_document, make_document_id, source_name
from wiring.lightrag.errors import InvalidDocumentError
from wiring.lightrag.results import Answer, Deleted, Inserted
from wiring.lightrag.workspaces import Workspaces
from wiring.prefect import IngestReport


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (None, None),
        ("", None),
        ("  ", None),
        ("README.md", "README.md"),
        ("./a/README.md", "a__README.md"),
        ("/srv/docs/README.md", "srv__docs__README.md"),
        ("../../etc/passwd", "etc__passwd"),
    ],
)
def test_a_path_keeps_its_folders_as_one_name(path: str | None, name: str | None) -> None:
    assert source_name(path) == name


def test_an_id_is_the_same_each_time_and_differs_between_documents() -> None:
    assert make_document_id("text", None) == make_document_id(" text\n", None)
    assert make_document_id("text", "a.md") != make_document_id("text", "b.md")
    assert make_document_id("one", "a.md") == make_document_id("two", "a.md")


@pytest.mark.parametrize(
    ("text", "document_id", "message"),
    [
        ("", None, "is empty"),
        (" \n\t", None, "is empty"),
        (b"bytes", None, "is bytes, not text"),
        (None, None, "is NoneType, not text"),
        ("a\x00b", None, "contains NUL bytes"),
        ("x" * 101, None, "has 101 bytes and lightrag.max_document_bytes is 100; split it"),
        ("ü" * 51, None, "has 102 bytes"),
        ("x", " ", "document id ' ' is not a name"),
        ("x", "a\nb", "is not a name"),
    ],
)
def test_what_cannot_be_a_document_is_refused(text: Any, document_id: str | None, message: str) -> None:
    with pytest.raises(InvalidDocumentError, match=message):
        check_document(text, document_id, 100)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a`b", "a'b", 'a"b', "a b", "a\nb", "x" * 129, 7])
def test_what_cannot_be_a_workspace_is_refused(name: Any) -> None:
    workspaces = Workspaces(LightRAGSettings(), None, None)  # type: ignore[arg-type]
    with pytest.raises(AppContainerError, match="is not a name; use letters"):
        workspaces.check_name(name)


def test_a_workspace_name_may_be_unicode_and_the_default_is_the_configured_one() -> None:
    workspaces = Workspaces(LightRAGSettings(workspace="configured"), None, None)  # type: ignore[arg-type]
    assert workspaces.check_name("Bücher_2.0-知识") == "Bücher_2.0-知识"
    assert workspaces.check_name(None) == "configured"


def test_a_variable_that_would_move_the_graph_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_WORKSPACE", "other")
    workspaces = Workspaces(LightRAGSettings(), None, None)  # type: ignore[arg-type]
    with pytest.raises(AppContainerError, match="unset it and use LIGHTRAG_WORKSPACE"):
        workspaces.check_name("mine")
    assert workspaces.check_name("other") == "other"


@pytest.mark.parametrize("result", [Inserted, Deleted, Answer, IngestReport])
def test_an_endpoint_can_return_what_comes_of_documents(result: Any) -> None:
    assert TypeAdapter(result).json_schema()["type"] == "object"
