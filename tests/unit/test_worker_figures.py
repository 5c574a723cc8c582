"""The figures of a worker's processes, added up, whatever becomes of the processes. No server."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tests import PROJECT
from tests.support.figures import figure
from wiring.metrics.snapshot import Snapshot, add_up
from wiring.metrics.worker import WorkerFigures, new_folder, process_folders, worker_folders
from wiring.testing.waiting import until

CHILD = """
import sys
from pathlib import Path
from app_container.metrics import Metrics
from wiring.metrics.publisher import Publisher
metrics = Metrics()
publisher = Publisher(lambda: metrics, Path(sys.argv[1]))
for word in sys.stdin:
    if word == "end\\n":
        publisher.close()
        break
    metrics.document_done(word.strip(), 1.5)
"""


class Child:
    """A process that counts a document for each word it is told."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder)], stdin=subprocess.PIPE, text=True, cwd=PROJECT
        )

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        assert self.process.stdin is not None
        self.process.stdin.close()


@pytest.fixture
def children(tmp_path: Path) -> Iterator[list[Child]]:
    children = [Child(tmp_path), Child(tmp_path)]
    yield children
    for child in children:
        child.kill()


def documents(figures: WorkerFigures) -> float:
    return figure(figures, "lightrag_document_seconds_count")


def snapshot(pid: int, counted: float, used: float) -> Snapshot:
    registry = CollectorRegistry()
    Counter("tasks", "Tasks.", ["kind"], registry=registry).labels("a").inc(counted)
    Gauge("used", "Used.", registry=registry).set(used)
    Histogram("seconds", "Seconds.", buckets=(1.0,), registry=registry).observe(counted)
    return Snapshot.from_json(Snapshot(pid, 0.0, list(registry.collect())).to_json())


def test_counts_and_histograms_are_added_and_gauges_are_told_by_process() -> None:
    living = [snapshot(1, 2.0, 7.0), snapshot(2, 0.5, math.nan)]
    past = snapshot(3, 4.0, 9.0).metrics
    sums = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for metric in add_up(living, past)
        for sample in metric.samples
    }
    assert math.isnan(sums.pop(("used", ("pid", "2"))))
    assert sums == {
        ("tasks_total", ("kind", "a")): 6.5,
        ("used", ("pid", "1")): 7.0,
        ("seconds_bucket", ("le", "1.0")): 1.0,
        ("seconds_bucket", ("le", "+Inf")): 3.0,
        ("seconds_count",): 3.0,
        ("seconds_sum",): 6.5,
    }


@pytest.mark.parametrize("text", ["", "[]", '{"pid": 1}', '{"pid": 1, "since": 0, "metrics": [{}]}'])
def test_a_file_that_is_no_snapshot_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"snapshot|Expecting"):
        Snapshot.from_json(text)


def test_what_dead_processes_counted_is_kept_and_their_folders_go(tmp_path: Path, children: list[Child]) -> None:
    figures = WorkerFigures(tmp_path)
    one, other = children
    for child in children:
        child.tell("processed")
        child.tell("failed")
    until(lambda: documents(figures) == 4)
    assert len(process_folders(tmp_path)) == 2
    one.kill()
    other.tell("processed")
    other.tell("end")
    other.process.wait(10)
    figures.fold()
    assert process_folders(tmp_path) == []
    assert documents(figures) == 5  # one ended itself, and wrote to the last
    assert figure(figures, "lightrag_document_seconds_sum", outcome="failed") == 3.0


def test_folders_of_workers_that_are_gone_are_removed_by_the_next_one(tmp_path: Path) -> None:
    dead, alive = tmp_path / "1-1", tmp_path / "2-2"
    running, gone = Child(alive), Child(dead)
    try:
        until(lambda: len(list(tmp_path.glob("*/*/figures.json"))) == 2)
        gone.kill()
        new = new_folder(tmp_path, "next")
        assert worker_folders(tmp_path) == sorted([alive, new])
    finally:
        running.kill()
        gone.kill()


def test_a_folder_that_cannot_be_written_is_told_once_and_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from app_container.metrics import Metrics
    from wiring.metrics.publisher import Publisher

    in_the_way = tmp_path / "worker"
    in_the_way.write_text("")
    metrics = Metrics()
    publisher = Publisher(lambda: metrics, in_the_way, also=lambda: None)
    try:
        until(lambda: caplog.records)
        in_the_way.unlink()
        until(lambda: list(in_the_way.glob("*/figures.json")))
    finally:
        publisher.close()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"the figures of process {os.getpid()} cannot be stored: NotADirectoryError: ")


def test_a_process_that_is_stopped_is_not_dead(tmp_path: Path, children: list[Child]) -> None:
    figures = WorkerFigures(tmp_path)
    children[0].tell("processed")
    until(lambda: documents(figures) == 1 and len(process_folders(tmp_path)) == 2)
    children[0].process.send_signal(signal.SIGSTOP)
    try:
        figures.fold()
        assert len(process_folders(tmp_path)) == 2
        assert documents(figures) == 1
    finally:
        children[0].process.send_signal(signal.SIGCONT)
