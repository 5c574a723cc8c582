"""A process that is killed while it holds what all processes of a worker share."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE = 60.0
"""Seconds for a whole script, which takes a few."""

LOCKS = """
import asyncio, os, signal, sys
from app_container import create_container
from lightrag.kg import shared_storage
from wiring.lightrag.processes import share

share(create_container().settings().lightrag, 2)
take = getattr(shared_storage, sys.argv[1])

async def die():
    async with take():
        os.kill(os.getpid(), signal.SIGKILL)

async def twice():
    async with asyncio.timeout(20):
        for _ in range(2):
            async with take():
                pass

if not (child := os.fork()):
    asyncio.run(die())
assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
asyncio.run(twice())
print("taken")
"""

LOADING = """
import os, signal
import lightrag.kg.json_kv_impl
from app_container import create_container
from wiring.lightrag.processes import share

container = create_container()
share(container.settings().lightrag, 2)

def in_child(work):
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def killed_while_it_loads():
    lightrag.kg.json_kv_impl.load_json = die
    container.worker_loop().run(container.rag().get())

async def read():
    rag = await container.rag().get()
    print(await rag.full_docs.get_by_id("a"), flush=True)

def loads():
    container.worker_loop().run(read(), 40)
    container.shutdown_resources()

assert os.WTERMSIG(in_child(killed_while_it_loads)) == signal.SIGKILL
in_child(loads)
in_child(loads)
"""


def run(script: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("lock", ["get_internal_lock", "get_data_init_lock"])
@pytest.mark.usefixtures("environment")
def test_a_lock_is_taken_back_from_a_process_that_was_killed(lock: str) -> None:
    assert run(LOCKS, lock) == ["taken"]


def test_files_are_loaded_by_the_next_process(environment: dict[str, str]) -> None:
    folder = Path(environment["LIGHTRAG_WORKING_DIR"]) / environment["LIGHTRAG_WORKSPACE"]
    folder.mkdir(parents=True)
    (folder / "kv_store_full_docs.json").write_text(json.dumps({"a": {"content": "Here Ada met Bob."}}))
    assert ["Here Ada met Bob." in line for line in run(LOADING)] == [True, True]
