"""Ending a process with all it started."""

from __future__ import annotations

import contextlib
import subprocess
from typing import Any

import psutil


def end_family(process: subprocess.Popen[Any]) -> None:
    """End ``process`` and all it started at once, if it still runs."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        family = [parent, *parent.children(recursive=True)]
        for member in family:
            member.kill()
        psutil.wait_procs(family, 10.0)
    process.wait(10.0)
