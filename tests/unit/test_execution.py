from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest
from celery import Celery

from app_container.execution import execution
from app_container.worker_loop import WorkerLoop


async def here() -> str:
    return execution().lifetime


def test_a_plain_thread_gets_the_process_driver() -> None:
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append(execution().lifetime))
    thread.start()
    thread.join()
    assert [*seen, execution().lifetime] == ["process", "process"]


def test_an_applications_own_loop_gets_its_driver() -> None:
    assert asyncio.run(here()) == "loop"


def test_inside_a_celery_task_only_the_worker_loop_lasts() -> None:
    app = Celery(broker="memory://", backend="cache+memory://", set_as_current=False)
    loop = WorkerLoop()

    @app.task(name="look")
    def look() -> list[Any]:
        return [execution().lifetime, asyncio.run(here()), loop.run(here())]

    assert look.apply().get() == ["process", "bridge", "loop"]
    loop.close()


def test_the_reason_is_logged_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    from app_container import execution as module

    monkeypatch.setattr(module, "_logged", set())
    caplog.set_level("DEBUG", logger="app_container")
    for _ in range(3):
        module.lifetime()
    assert caplog.text.count("no event loop runs in this thread") == 1


def test_looking_imports_neither_celery_nor_prefect() -> None:
    script = """
import asyncio, sys
from app_container.execution import execution
async def here(): return execution()
asyncio.run(here())
print(sorted({name.partition(".")[0] for name in sys.modules} & {"celery", "prefect", "lightrag", "neo4j"}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"
