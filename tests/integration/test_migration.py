"""docs/migration.md: each step is done to the programs that stand there, which run before and after it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import PROJECT
from tests.support.brokers import redis
from tests.support.migration_steps import PAGE, programs_in, read_steps
from tests.support.python_processes import StartPython
from tests.support.same_graph import read_graph
from tests.support.servers import Server, newest_connection
from tests.support.workers import StartWorker, WorkerProcess
from wiring.testing.waiting import until

STEPS = read_steps()
TASKS = 12
NAMES = ["Ada", "Alan", "Barbara", "Bob", "Carol", "Dan", "Dave", "Dora"]
ANSWER = [2, 2, 1, 3]
WORKSPACE = "my_rag"
SECONDS = 120
"""A bound for a program against hanging, far more than it takes."""
ANSWERS_KEPT = Path("rag") / WORKSPACE / "kv_store_llm_response_cache.json"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Redis, and the variables by which Celery takes it in place of the one that a program names."""
    server = redis(tmp_path_factory.mktemp("redis"))
    try:
        server.start()
        yield {"CELERY_BROKER_URL": server.url, "CELERY_RESULT_BACKEND": server.result_backend}
    finally:
        server.close()


@pytest.fixture(autouse=True)
def _as_the_page_says(
    neo4j_server: Server, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Only what the page says one needs: the README's configuration, and three variables."""
    (yaml,) = re.findall(r"```yaml\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    Path("config.yaml").write_text(yaml)
    monkeypatch.delenv("APP_CONTAINER_CONFIG")
    for name in environment.keys() - {"NEO4J_URI", "NEO4J_USERNAME", "NEO4J_PASSWORD"}:
        monkeypatch.delenv(name)
        del environment[name]
    forget_people(neo4j_server)
    yield
    forget_people(neo4j_server)
    neo4j_server.forget_workspace(WORKSPACE)


def forget_people(server: Server) -> None:
    server.query("MATCH (p:Person) DETACH DELETE p")


@pytest.fixture
def celery(
    start_python: StartPython, start_worker: StartWorker, broker: dict[str, str]
) -> Callable[[], tuple[Any, WorkerProcess]]:
    """Runs the two commands of the page; returns what the second printed, and the worker, which has ended."""

    def run() -> tuple[Any, WorkerProcess]:
        worker = start_worker("--concurrency", "2", app="my_tasks", **broker)
        answer = start_python("ask.py", **broker).finish(SECONDS)
        assert worker.stop() == 0, worker.log
        return answer, worker

    return run


def opened(server: Server, run: Callable[[], Any]) -> tuple[Any, int]:
    """What ``run`` returns, and how many connections the server accepted meanwhile. None of them is left open."""
    before = newest_connection(server)
    result = run()
    after = newest_connection(server)
    numbers = range(before + 1, after)
    until(lambda: not left_open(server, numbers), 10, told=lambda: f"left open: {left_open(server, numbers)}")
    return result, after - before - 1


def left_open(server: Server, numbers: range) -> list[int]:
    rows = server.query("CALL dbms.listConnections() YIELD connectionId")
    return [number for row in rows if (number := int(row["connectionId"].rpartition("-")[2])) in numbers]


def check_people(server: Server, answer: Any) -> None:
    """They are there, once each; and those who come after find nobody."""
    assert answer == ANSWER
    rows = server.query("MATCH (p:Person) RETURN p.name AS name ORDER BY name")
    assert [row["name"] for row in rows] == NAMES
    forget_people(server)


def check_drivers(worker: WorkerProcess, connections: int) -> None:
    """One connection is that of the check at the start, the others are those of the drivers, each opened once."""
    drivers = re.findall(r"opened (\w*Driver) .*process (\d+)", worker.log)
    assert len(drivers) == len(set(drivers)), drivers
    assert connections == 1 + len(drivers), drivers
    assert sorted(drivers) == sorted(re.findall(r"closed (\w*Driver) .*process (\d+)", worker.log))


def tasks_of(worker: WorkerProcess) -> list[str]:
    return re.findall(r"^  \. (\S+)$", worker.log, re.MULTILINE)


def test_a_driver_per_task_becomes_the_containers_and_moves_to_prefect_and_to_plain_async(
    celery: Callable[[], tuple[Any, WorkerProcess]],
    start_python: StartPython,
    start_flow: StartPython,
    neo4j_server: Server,
    tmp_path: Path,
) -> None:
    first, second, third = STEPS["1"], STEPS["2"], STEPS["3"]
    first.write_programs(tmp_path)
    sender = programs_in(tmp_path)["ask.py"]
    (answer, old), count = opened(neo4j_server, celery)
    check_people(neo4j_server, answer)
    assert count == TASKS
    assert count in first.before

    first.apply(tmp_path)
    assert programs_in(tmp_path)["ask.py"] == sender
    people = programs_in(tmp_path)["people.py"]
    (answer, new), count = opened(neo4j_server, celery)
    check_people(neo4j_server, answer)
    check_drivers(new, count)
    assert count in first.after
    assert count in second.before
    assert tasks_of(new) == tasks_of(old) == ["my_tasks.add_person", "my_tasks.count_people"]

    second.apply(tmp_path)
    assert programs_in(tmp_path)["people.py"] == people
    answer, count = opened(neo4j_server, lambda: start_flow("ask.py").finish(SECONDS))
    check_people(neo4j_server, answer)
    assert count in second.after
    assert count in third.before

    third.apply(tmp_path)
    assert programs_in(tmp_path)["people.py"] == people
    answer, count = opened(neo4j_server, lambda: start_python("ask.py").finish(SECONDS))
    check_people(neo4j_server, answer)
    assert count in third.after


def test_one_line_for_each_task_changes_from_celery_to_prefect() -> None:
    lines = re.findall(r"^[-+]@(?!flow).*$", STEPS["2"].changes, re.MULTILINE)
    assert lines == [
        *("-@app.task", "+@task"),
        *('-@async_task(app, name="my_tasks.count_people")', '+@async_task(name="count_people")'),
    ]


def test_lightrags_storage_becomes_ours_and_the_graph_stays(
    start_python: StartPython, neo4j_server: Server, tmp_path: Path
) -> None:
    def ask() -> str:
        process = start_python("my_rag.py")
        assert process.process.wait(SECONDS) == 0, process.log
        return process.output_file.read_text()

    step = STEPS["4"]
    step.write_programs(tmp_path)
    theirs, count = opened(neo4j_server, ask)
    assert count in step.before
    assert "Our team runs Celery with Redis" in theirs
    graph = read_graph(neo4j_server, WORKSPACE)
    assert len(graph.things) > 8
    assert constraints(neo4j_server) == 0

    step.apply(tmp_path)
    (tmp_path / ANSWERS_KEPT).unlink()  # else LightRAG would give the answer from there
    ours, count = opened(neo4j_server, ask)
    assert ours == theirs
    assert count in step.after
    assert constraints(neo4j_server) == 1
    assert not any(read_graph(neo4j_server, WORKSPACE).differences(graph).values())

    neo4j_server.forget_workspace(WORKSPACE)
    for file in (tmp_path / ANSWERS_KEPT).parent.iterdir():
        file.unlink()
    ours, count = opened(neo4j_server, ask)
    assert ours == theirs
    assert count in step.after
    assert not any(read_graph(neo4j_server, WORKSPACE).differences(graph).values())


def constraints(server: Server) -> int:
    rows = server.query("SHOW CONSTRAINTS YIELD labelsOrTypes WHERE labelsOrTypes = [$label]", label=WORKSPACE)
    return len(rows)


def test_a_connection_manager_disappears(
    celery: Callable[[], tuple[Any, WorkerProcess]],
    neo4j_server: Server,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    step, elsewhere = STEPS["5"], tmp_path_factory.mktemp("step1")
    STEPS["1"].write_programs(elsewhere)
    (tmp_path / "ask.py").write_text(programs_in(elsewhere)["ask.py"])
    step.write_programs(tmp_path)
    (answer, old), count = opened(neo4j_server, celery)
    check_people(neo4j_server, answer)
    assert count in step.before

    step.apply(tmp_path)
    (answer, new), count = opened(neo4j_server, celery)
    check_people(neo4j_server, answer)
    check_drivers(new, count)
    assert count in step.after
    assert tasks_of(new) == tasks_of(old)
    STEPS["1"].apply(elsewhere)
    assert programs_in(tmp_path) == programs_in(elsewhere)


def test_nothing_on_the_page_is_left_out() -> None:
    blocks = [block for step in STEPS.values() for block in step.blocks]
    assert list(STEPS) == ["1", "2", "3", "4", "5"]
    assert {kind for kind, _ in blocks} == {"python", "diff", "sh"}
    assert PAGE.count("```") == 2 * len(blocks)


def test_a_diff_whose_lines_have_moved_is_refused(tmp_path: Path) -> None:
    step = STEPS["1"]
    step.write_programs(tmp_path)
    file = tmp_path / "my_tasks.py"
    file.write_text("\n" + file.read_text())
    with pytest.raises(AssertionError):
        step.apply(tmp_path)
