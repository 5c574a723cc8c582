from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from wiring.process_file import ProcessFile

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); print(1); time.sleep(60)"]


def test_a_running_process_is_found_and_ended() -> None:
    process = subprocess.Popen(SLEEP)
    file = ProcessFile(Path("process.json"))
    file.write(process.pid, uri="bolt://x")
    assert file.read() == {"pid": process.pid, "created": psutil.Process(process.pid).create_time(), "uri": "bolt://x"}
    assert file.end(10) is True
    assert not psutil.pid_exists(process.pid)
    process.wait(10)
    assert file.read() is None
    assert file.end(10) is False


def test_one_that_does_not_end_is_killed() -> None:
    process = subprocess.Popen(STUBBORN, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    file = ProcessFile(Path("process.json"))
    file.write(process.pid)
    file.end(0.2)
    assert not psutil.pid_exists(process.pid)
    process.wait(10)
    process.stdout.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "created": 0}'])
def test_a_broken_file_is_no_process(text: str) -> None:
    Path("process.json").write_text(text)
    assert ProcessFile(Path("process.json")).read() is None


def test_a_later_process_with_the_same_pid_is_left_alone() -> None:
    process = subprocess.Popen(SLEEP)
    Path("process.json").write_text(json.dumps({"pid": process.pid, "created": 1.0}))
    file = ProcessFile(Path("process.json"))
    assert file.read() is None
    assert file.end(1) is False
    assert process.poll() is None
    process.kill()
    process.wait(10)
