"""compose.yaml: two workers ingest, whatever is killed; nothing shows a password; the profiles run."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.deploy.docker_command import docker, inspect, logs, visible
from tests.deploy.stack import Stack
from tests.support.fault_runs import texts
from tests.support.same_graph import read_graph, vectors_in_neo4j
from wiring.testing.waiting import until

DONE = "Task lightrag.insert_document"
COUNT = 50


def write_documents(folder: Path) -> Path:
    folder.mkdir(mode=0o755)
    for name, text in texts(COUNT).items():
        (folder / f"{name}.md").write_text(text)
    return folder


def documents_done(worker: str) -> int:
    return sum(DONE in line and " succeeded in " in line for line in logs(worker).splitlines())


def test_a_killed_worker_and_a_restarted_neo4j_lose_nothing(stack: Stack, tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "documents")
    stack.up("worker")
    first, second = workers = stack.containers("worker")
    with stack.inserting(documents, "undisturbed") as insert:
        output, _ = insert.communicate(timeout=120)
    assert insert.returncode == 0, output
    before = {worker: documents_done(worker) for worker in workers}

    with stack.inserting(documents, "disturbed") as insert:
        until(lambda: documents_done(second) > before[second] + 2, 60)
        docker("kill", "--signal", "KILL", first)
        until(lambda: documents_done(second) > before[second] + 8, 60)
        docker("start", first)
        stack.compose("restart", "neo4j")
        output, _ = insert.communicate(timeout=150)
    assert insert.returncode == 0, output
    assert all(documents_done(worker) > before[worker] for worker in workers)

    stack.compose("stop", "worker")
    assert [inspect(worker)["State"]["ExitCode"] for worker in workers] == [0, 0]
    stack.server.until_no_connection_is_left()
    graph = read_graph(stack.server, "disturbed")
    differences = graph.differences(read_graph(stack.server, "undisturbed"))
    assert {what: differences[what] for what in ("missing", "too many", "sources", "files") if differences[what]} == {}
    assert graph.twice == []
    assert len(graph.things) > COUNT
    assert vectors_in_neo4j(stack.server, "disturbed") == graph.sources


def test_no_password_is_shown(stack: Stack) -> None:
    stack.up("worker", "flower")
    shown = {"compose config": stack.compose("--profile", "*", "config")}
    for container in stack.containers():
        shown |= {f"{what} of {container}": text for what, text in visible(container).items()}
    assert len(shown) >= 1 + 6 * 4
    assert len(stack.passwords) == 3
    assert [what for what, text in shown.items() for password in stack.passwords if password in text] == []


def test_servers_can_be_reached_from_this_machine_only(stack: Stack) -> None:
    stack.up("worker", "flower", "prometheus")
    ports = [binding for name in stack.containers() for binding in inspect(name)["NetworkSettings"]["Ports"].values()]
    assert {address["HostIp"] for binding in ports for address in binding or ()} == {"127.0.0.1"}


def test_flower_sees_the_workers(stack: Stack) -> None:
    stack.up("worker", "flower")
    names = {f"celery@{inspect(worker)['Config']['Hostname']}" for worker in stack.containers("worker")}

    def seen() -> set[str]:
        rows = httpx.get(f"{stack.address('FLOWER_PORT')}/workers", params={"json": "1"}, timeout=10).json()["data"]
        return {row["hostname"] for row in rows if row["status"]}

    until(lambda: seen() == names, told=lambda: f"{seen()} are seen, {names} run")


def test_prometheus_scrapes_every_worker(stack: Stack) -> None:
    stack.up("worker", "prometheus")
    addresses = {
        f"{network['IPAddress']}:9464"
        for worker in stack.containers("worker")
        for network in inspect(worker)["NetworkSettings"]["Networks"].values()
    }

    def scraped() -> set[str]:
        answer = httpx.get(f"{stack.address('PROMETHEUS_PORT')}/api/v1/query", params={"query": "up == 1"}, timeout=10)
        return {series["metric"]["instance"] for series in answer.json()["data"]["result"]}

    until(lambda: scraped() == addresses, 90, told=lambda: f"{scraped()} are scraped, {addresses} run")
    rules = httpx.get(f"{stack.address('PROMETHEUS_PORT')}/api/v1/rules", timeout=10).json()["data"]["groups"]
    assert [group["name"] for group in rules] == ["lightrag-neo4j"]
