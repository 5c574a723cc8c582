"""What Prefect sees of tasks and flows of ``wiring.prefect``. Real runs are in tests/integration."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Annotated, Any

import cloudpickle  # type: ignore[import-untyped]
import pytest
from dependency_injector.wiring import Provide
from dependency_injector.wiring import inject as injecting
from neo4j.exceptions import ServiceUnavailable
from prefect import flow, task
from prefect.cache_policies import INPUTS, NO_CACHE
from prefect.states import Failed
from prefect.utilities.callables import parameter_schema

from app_container import Container
from wiring.lightrag.errors import DocumentFailedError, DocumentPostponedError
from wiring.prefect import async_task, delete_document, ingest, inject, insert_document, query
from wiring.prefect.documents import name_of_run
from wiring.prefect.report import IngestReport, markdown
from wiring.prefect.tasks import passes


@async_task(name="greet")
@injecting
async def greet(name: str, *, driver: Any = Provide[Container.driver]) -> str:
    return f"{name} got {driver}"


@task
@inject
def greet_sync(name: str, driver: Any = Provide[Container.driver]) -> str:
    return f"{name} got {driver}"


@flow
@inject
async def greeting(name: Annotated[str, "who"], times: int = 1, driver: Any = Provide[Container.driver]) -> str:
    return f"{name} got {driver} {times} times"


def properties(function: Any) -> dict[str, Any]:
    return parameter_schema(function.fn).model_dump_for_openapi()["properties"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("made", "names"),
    [
        (insert_document, ["text", "document_id", "file_path", "workspace"]),
        (query, ["text", "mode", "workspace"]),
        (delete_document, ["document_id", "workspace"]),
        (ingest, ["paths", "texts", "workspace"]),
        (greet, ["name"]),
        (greet_sync, ["name"]),
        (greeting, ["name", "times"]),
    ],
)
def test_what_is_injected_is_no_parameter(made: Any, names: list[str]) -> None:
    assert list(properties(made)) == list(inspect.signature(made.fn).parameters) == names


def test_parameters_keep_their_types_and_say_what_they_are() -> None:
    assert properties(query)["mode"]["enum"] == ["mix", "hybrid", "local", "global", "naive", "bypass"]
    assert properties(greeting)["times"] == {"default": 1, "position": 1, "title": "times", "type": "integer"}
    assert properties(ingest)["workspace"]["description"] == "where they belong; None for the configured workspace."


def test_what_is_injected_cannot_be_given_by_a_caller() -> None:
    with pytest.raises(TypeError, match="driver"):
        greet_sync("Ada", driver="mine")


@pytest.mark.parametrize("made", [insert_document, query, delete_document, greet, greet_sync, greeting])
def test_another_process_finds_the_function_by_its_name(made: Any) -> None:
    for each in (made, made.with_options(name="another")):
        assert cloudpickle.loads(cloudpickle.dumps(each)).fn is made.fn


def test_every_task_has_a_key_of_its_own() -> None:
    tasks = [insert_document, query, delete_document, greet, greet_sync]
    assert {each.task_key.partition("-")[0] for each in tasks} == {each.fn.__name__ for each in tasks}
    assert insert_document.with_options(retries=1).task_key == insert_document.task_key


def test_nothing_is_cached_unless_a_task_says_so() -> None:
    policies = [each.cache_policy for each in (insert_document, greet, async_task(cache_policy=INPUTS)(greet.fn))]
    assert policies == [NO_CACHE, NO_CACHE, INPUTS]


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ServiceUnavailable("away"), True),
        (DocumentPostponedError("Neo4j was away"), True),
        (DocumentFailedError("the model is out of order"), False),
        (ValueError("wrong"), False),
    ],
)
def test_only_what_passes_is_tried_again(error: Exception, again: bool) -> None:  # noqa: FBT001
    assert passes(insert_document, None, Failed(data=error)) is again  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"text": "a b", "document_id": "d1", "file_path": "a.md"}, "d1"),
        ({"text": "a b", "document_id": None, "file_path": "a.md"}, "a.md"),
        ({"text": "a\n b", "document_id": None, "file_path": ""}, "a b"),
        ({"text": "a" * 100}, "a" * 60 + "…"),
        ({"text": " "}, "doc-d41d8cd98f00b204e9800998ecf8427e"),
    ],
)
def test_a_run_is_called_after_its_document_or_question(parameters: dict[str, Any], name: str) -> None:
    assert name_of_run(parameters) == name


def test_a_report_shows_reasons_as_text_and_not_all_of_thousands() -> None:
    failures = {"a|b.md": "<script>\nline two"} | {f"{n}.md": "is empty" for n in range(150)}
    report = IngestReport(
        workspace="w", documents=1151, inserted=1000, there_already=0, failures=failures, entities=5, relations=4,
        seconds=1.0,
    )  # fmt: skip
    page = markdown(report)
    assert "| documents | 1,151 |" in page
    assert "| failures | 151 |" in page
    assert "| a\\|b.md | &lt;script> line two |" in page
    assert "| and 51 more | |" in page


WITHOUT_PREFECT = """
import sys
sys.modules["prefect"] = None
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)


def test_a_deployment_that_cannot_be_served_says_why_in_one_line() -> None:
    for script, line in {
        "": "NEO4J_PASSWORD",
        "import os; os.environ |= {'NEO4J_PASSWORD': 'x', 'NEO4J_URI': 'bolt://127.0.0.1:1'}": "does not answer",
        f"import os; os.environ['NEO4J_PASSWORD'] = 'x'{WITHOUT_PREFECT}": "neo4j-wiring[prefect,lightrag]'",
    }.items():
        done = run(f"{script}\nfrom wiring.prefect_app import serve\nserve()")
        assert done.returncode == 1
        assert line in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_without_prefect_the_error_names_the_extra() -> None:
    done = run(f"{WITHOUT_PREFECT}\nimport wiring.prefect")
    assert done.stderr.splitlines()[-1].endswith(
        "MissingExtraError: wiring.prefect needs the package 'prefect', which is not installed; "
        "run: pip install 'lightrag-neo4j-wiring[prefect,lightrag]'"
    )


def test_only_its_own_part_imports_prefect() -> None:
    done = run("""
import os, sys
os.environ["NEO4J_PASSWORD"] = "x"
import wiring.celery_app, wiring.cli, wiring.demo, wiring.lightrag.storages, wiring.lightrag.workspaces
assert "prefect" not in sys.modules
""")
    assert done.returncode == 0, done.stderr
