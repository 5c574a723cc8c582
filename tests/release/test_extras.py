"""The wheel in empty environments, with no extra and with each extra alone: what it gives works, the rest is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import PROJECT_TABLE
from tests.release.packages import EXTRAS, Environment

GIVES = {
    None: ["app_container", "wiring.cli"],
    "celery": ["wiring.celery", "wiring.celery_app"],
    "lightrag": ["wiring.lightrag.storages", "wiring.lightrag.documents", "wiring.lightrag.vector_storage"],
    "local": ["wiring.local_neo4j"],
    "prefect": ["wiring.prefect", "wiring.prefect_app"],
    "opentelemetry": ["wiring.opentelemetry.queries", "wiring.opentelemetry.pools"],
    "testing": ["wiring.testing"],
}
GIVES["all"] = [module for extra, modules in GIVES.items() if extra != "testing" for module in modules]

NEEDS = {
    "lightrag": (["repair"], "lightrag"),
    "local": (["neo4j", "status"], "local"),
    "opentelemetry": (["check"], "opentelemetry"),
    "celery": (["demo"], "celery,lightrag,local"),
    "prefect": (["demo", "--prefect"], "prefect,lightrag,local"),
}
"""By extra: a command that needs it, and what its error says to install."""

BRINGS = {"lightrag": {"lightrag", "opentelemetry"}, "prefect": {"prefect", "opentelemetry"}, "all": NEEDS.keys()}
"""By extra: what is there with it, where that is more than itself. LightRAG's and Prefect's packages need this API."""

FIXTURES = {"neo4j_server", "container", "celery_worker_process", "workspace", "rabbitmq_server", "redis_server"}

EVERY_HELP = """
import json
from typer.main import get_command
from typer.testing import CliRunner
from wiring.cli import app

def paths(command, path=()):
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, (*path, name))

codes = {" ".join(path): CliRunner().invoke(app, [*path, "--help"]).exit_code for path in paths(get_command(app))}
print(json.dumps(codes))
"""


def test_every_extra_is_looked_at() -> None:
    assert {*EXTRAS, None} == GIVES.keys()


@pytest.fixture(scope="module", params=[None, *EXTRAS], ids=lambda extra: extra or "none")
def extra(request: pytest.FixtureRequest) -> str | None:
    chosen: str | None = request.param
    return chosen


@pytest.fixture(scope="module")
def environment(
    extra: str | None, wheel: Path, dependencies: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Environment]:
    folder = tmp_path_factory.mktemp("environment")
    yield Environment.create(folder, wheel, extra, dependencies)
    shutil.rmtree(folder)


def test_what_it_gives_can_be_imported(environment: Environment, extra: str | None) -> None:
    done = environment.run("python", "-c", f"import {', '.join(GIVES[extra])}")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_and_all_of_its_subcommands_have_help(environment: Environment) -> None:
    assert "Usage: lightrag-neo4j" in environment.run("lightrag-neo4j", "--help").stdout
    codes = json.loads(environment.run("python", "-c", EVERY_HELP).stdout)
    assert len(codes) > 10
    assert set(codes.values()) == {0}


def test_the_command_tells_the_version(environment: Environment) -> None:
    assert environment.run("lightrag-neo4j", "--version").stdout.strip() == PROJECT_TABLE["version"]


def test_what_needs_another_extra_names_it_in_one_line(environment: Environment, extra: str | None) -> None:
    for wanted in NEEDS.keys() - BRINGS.get(extra or "", {extra}):
        command, named = NEEDS[wanted]
        asked = {"OPENTELEMETRY_ENABLED": "true"} if wanted == "opentelemetry" else {}
        done = environment.run("lightrag-neo4j", *command, **asked)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.endswith(f"is not installed; run: pip install 'lightrag-neo4j-wiring[{named}]'")


def test_a_framework_that_is_absent_is_named_when_it_is_imported(environment: Environment, extra: str | None) -> None:
    for framework in {"celery", "prefect"} - BRINGS.get(extra or "", {extra}):
        line = environment.run("python", "-c", f"import wiring.{framework}").stderr.splitlines()[-1]
        assert f"wiring.{framework} needs the package '{framework}', which is not installed" in line


def test_pytest_has_the_fixtures_where_the_extra_brings_it(environment: Environment, extra: str | None) -> None:
    has_pytest = (environment.folder / "bin" / "pytest").exists()
    assert has_pytest == (extra == "testing")
    shown = environment.run("pytest", "--fixtures", "-q").stdout if has_pytest else ""
    found = {name for name in FIXTURES if f"\n{name}" in shown}
    assert found == (FIXTURES if has_pytest else set())
