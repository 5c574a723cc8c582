"""Who holds the folder of the file-based storages: a family of processes, however its members end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app_container.settings import LightRAGSettings
from wiring.lightrag.working_dir import claim_working_dir, open_for_children, release_working_dir

SETTINGS = LightRAGSettings(working_dir=Path("rag"))
ON_A_SERVER = SETTINGS.model_copy(
    update=dict.fromkeys(("kv_storage", "vector_storage", "doc_status_storage"), "RedisKVStorage")
)

ELSEWHERE = """
from pathlib import Path
from app_container.settings import LightRAGSettings
from wiring.lightrag.working_dir import WorkingDirInUseError, claim_working_dir
try:
    claim_working_dir(LightRAGSettings(working_dir=Path("rag")))
except WorkingDirInUseError as error:
    print(error)
"""


def elsewhere() -> str:
    """What another process, not forked from this one, is told when it wants the folder; empty if it gets it."""
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


class Child:
    """Does something in a fork of this process, and then lives on until it is killed."""

    def __init__(self, work: Callable[[], None]) -> None:
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            outcome = "done"
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - nothing may leave this process by another way
                outcome = type(error).__name__
            os.write(writer, f"{outcome}\n".encode())
            signal.pause()
        os.close(writer)
        with os.fdopen(reader) as pipe:
            self.outcome = pipe.readline().strip()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def fork() -> Iterator[Callable[[Callable[[], None]], Child]]:
    children: list[Child] = []

    def fork(work: Callable[[], None]) -> Child:
        children.append(Child(work))
        return children[-1]

    yield fork
    for child in children:
        child.kill()


def claim() -> None:
    claim_working_dir(SETTINGS)


def test_a_process_holds_it_until_its_last_claim_is_taken_back() -> None:
    claim()
    claim()
    release_working_dir(SETTINGS)
    assert elsewhere().startswith(f"rag is in use by process {os.getpid()} or one it started, and its files would lose")
    release_working_dir(SETTINGS)
    assert elsewhere() == ""


def test_storages_on_a_server_need_no_folder() -> None:
    claim_working_dir(ON_A_SERVER)
    assert not Path("rag").exists()


def test_a_fork_that_does_not_share_lightrags_state_is_refused(fork: Callable[[Callable[[], None]], Child]) -> None:
    claim()
    assert fork(claim).outcome == "WorkingDirInUseError"
    release_working_dir(SETTINGS)


def test_children_hold_it_together_and_longer_than_their_parent(fork: Callable[[Callable[[], None]], Child]) -> None:
    def family() -> None:
        open_for_children(SETTINGS)
        assert elsewhere() == ""  # opened, and taken by nobody
        children = [Child(claim), Child(claim)]
        assert [child.outcome for child in children] == ["done", "done"]
        Path("children").write_text(" ".join(str(child.pid) for child in children))

    parent = fork(family)
    assert parent.outcome == "done"
    one, two = map(int, Path("children").read_text().split())
    assert f"in use by process {parent.pid} or one it started" in elsewhere()
    os.kill(parent.pid, signal.SIGKILL)
    os.kill(one, signal.SIGKILL)
    assert f"in use by process {parent.pid} or one it started" in elsewhere()
    os.kill(two, signal.SIGKILL)
    assert elsewhere() == ""
