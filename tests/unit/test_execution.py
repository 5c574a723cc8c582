from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from app_container.execution import execution
from app_container.worker_loop import WorkerLoop


async def here() -> str:
    return execution().lifetime


@contextmanager
def prefect_run(kind: str, flow_run_id: str | None, *, sync: bool = False) -> Iterator[None]:
    """Enter Prefect's own context of a flow or task run, with the client that Prefect would have opened for it."""
    from prefect.context import FlowRunContext, TaskRunContext

    run: dict[str, Any] = {"client": SimpleNamespace() if sync else SimpleNamespace(loop=asyncio.get_running_loop())}
    run[kind] = SimpleNamespace(isasync=not sync)
    run[f"{kind}_run"] = SimpleNamespace(id=flow_run_id, flow_run_id=flow_run_id)
    context: Any = FlowRunContext if kind == "flow" else TaskRunContext
    with context.model_construct(**run):
        yield


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


def test_a_task_that_is_awaited_has_its_flows_loop() -> None:
    async def main() -> list[str]:
        with prefect_run("flow", "a"):
            seen = [await here()]
            with prefect_run("task", "a"):
                seen.append(await here())
                with prefect_run("task", "a"), prefect_run("flow", "b"), prefect_run("task", "b"):
                    seen.append(await here())
        return seen

    assert asyncio.run(main()) == ["loop", "loop", "loop"]


def test_a_submitted_tasks_loop_passes_with_it_and_so_does_all_that_is_awaited_there() -> None:
    async def submitted() -> list[str]:
        with prefect_run("task", "a"):
            seen = [await here()]
            with prefect_run("flow", "b"):
                seen.append(await here())
                with prefect_run("task", "b"):
                    seen.append(await here())
        return seen

    async def main() -> list[str]:
        with prefect_run("flow", "a"):
            from_the_flow = await asyncio.to_thread(asyncio.run, submitted())
            with prefect_run("task", "a"):
                return from_the_flow + await asyncio.to_thread(asyncio.run, submitted())

    assert asyncio.run(main()) == ["bridge"] * 6
    with prefect_run("flow", "a", sync=True):
        assert asyncio.run(submitted()) == ["bridge"] * 3


def test_a_tasks_loop_counts_as_passing_where_no_flow_runs() -> None:
    async def task() -> str:
        with prefect_run("task", None):
            return await here()

    assert asyncio.run(task()) == "bridge"


def test_a_sync_task_or_flow_on_a_running_loop_gets_the_sync_driver() -> None:
    async def main() -> list[str]:
        with prefect_run("flow", "a"):
            with prefect_run("task", "a", sync=True):
                seen: list[str] = [execution().lifetime]
            with prefect_run("flow", "b", sync=True):
                seen.append(execution().lifetime)
                with prefect_run("task", "b", sync=True):
                    seen.append(execution().lifetime)
            with prefect_run("task", "a"), prefect_run("flow", "b", sync=True):
                seen.append(execution().lifetime)
        return seen

    assert asyncio.run(main()) == ["process"] * 4


def test_a_loop_that_a_sync_task_starts_passes_and_one_that_a_sync_flow_starts_is_its_own() -> None:
    with prefect_run("flow", "a", sync=True):
        assert asyncio.run(here()) == "loop"
        with prefect_run("task", "a", sync=True):
            assert [execution().lifetime, asyncio.run(here())] == ["process", "bridge"]


def test_a_coroutine_that_outlives_its_task_run_gets_the_careful_answer() -> None:
    async def main() -> str:
        over = asyncio.Event()

        async def left_behind() -> str:
            await over.wait()
            return await here()

        with prefect_run("flow", "a"):
            with prefect_run("task", "a"):
                task = asyncio.create_task(left_behind())
            over.set()
            return await task

    assert asyncio.run(main()) == "bridge"


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
