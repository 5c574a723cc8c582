"""How the progress of a document is told. Real backends are in tests/faults."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from wiring.celery.documents import ProgressReport
from wiring.lightrag.ingest import Progress


class SlowTask:
    """A task whose result backend takes a state only when it is let."""

    def __init__(self, error: Exception | None = None) -> None:
        self.let = threading.Event()
        self.stored: list[dict[str, Any]] = []
        self._error = error

    def update_state(self, *, state: str, meta: dict[str, Any]) -> None:
        assert state == "PROGRESS"
        self.let.wait(20)
        if self._error:
            raise self._error
        self.stored.append(meta)


def progress(done: int) -> Progress:
    return Progress(stage="processing", done=done, total=9)


def test_a_backend_that_hangs_does_not_hold_the_document_and_comes_to_its_end_before_the_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wiring.celery.documents.STORE_TIMEOUT", 0.02)
    task: Any = SlowTask()
    report = ProgressReport(task)

    async def work() -> None:
        for done in range(3):
            await report(progress(done))
        assert task.stored == []
        threading.Timer(0.1, task.let.set).start()
        await report.end()
        assert task.stored == [progress(0)]  # the others would have been late

    asyncio.run(work())


def test_a_backend_that_fails_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    task: Any = SlowTask(ConnectionError("nobody is there"))
    task.let.set()
    report = ProgressReport(task)

    async def work() -> None:
        await report(progress(1))
        await report.end()

    asyncio.run(work())
    assert "the result backend did not take a task's progress: ConnectionError: nobody is there" in caplog.text
