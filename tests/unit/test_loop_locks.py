"""LightRAG's locks on several event loops of a process, one after the other and at the same time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import PROJECT
from wiring.lightrag.loop_locks import LoopsLock

SCRIPT = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor
from lightrag.kg import shared_storage

shared_storage.initialize_share_data(int(sys.argv[1]))
if sys.argv[2] == "ours":
    from app_container import create_container
    container = create_container()
    from wiring.lightrag.storages import Neo4JHybridStorage
    Neo4JHybridStorage("graph", {}, None, workspace="w")

async def hold(lock):
    async with lock():
        await asyncio.sleep(0.01)

async def wait_for_each_other():
    for lock in (shared_storage.get_internal_lock, shared_storage.get_data_init_lock):
        await asyncio.gather(*(hold(lock) for _ in range(5)))

def run(_):
    asyncio.run(wait_for_each_other())

if __name__ == "__main__":
    for n in range(2):
        run(n)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, range(3)))
"""


@pytest.mark.parametrize("processes", ["1", "2"])
def test_lightrags_locks_serve_every_loop_once_there_is_a_storage_of_ours(
    processes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", "unused")

    def run(whose: str) -> str:
        arguments = [sys.executable, "-c", SCRIPT, processes, whose]
        environment = os.environ | {"PYTHONPATH": str(PROJECT)}
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=False)
        return done.stderr if done.returncode else ""

    assert "is bound to a different event loop" in run("theirs")
    assert run("ours") == ""


def test_one_at_a_time_has_it_whichever_loop_it_is_on() -> None:
    lock = LoopsLock()
    inside: list[int] = []
    seen: list[int] = []

    async def enter(number: int) -> None:
        await lock.acquire()
        inside.append(number)
        await asyncio.sleep(0.001)
        seen.append(len(inside))
        inside.remove(number)
        lock.release()

    async def main(first: int) -> None:
        await asyncio.gather(*(enter(number) for number in range(first, first + 5)))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda first: asyncio.run(main(first)), (0, 10, 20)))
    assert seen == [1] * 15
    assert not lock.locked()


def test_who_is_cancelled_while_it_waits_leaves_the_lock_to_others() -> None:
    lock = LoopsLock()

    async def main() -> bool:
        await lock.acquire()
        waiting = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        lock.release()
        return await asyncio.wait_for(lock.acquire(), 5)

    assert asyncio.run(main())
