"""Python processes that tests start, with what they print; all are ended, whatever happens."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import PROJECT
from wiring.testing.celery_worker import end_family
from wiring.testing.waiting import until


class PythonProcess:
    """``python ARGUMENTS`` in ``folder``, with what it prints, and what it prints on standard error in ``log``."""

    def __init__(self, folder: Path, name: str, environment: dict[str, str], *arguments: str) -> None:
        self.log_file, self.output_file = folder / f"{name}.log", folder / f"{name}.output"
        with self.log_file.open("w") as log, self.output_file.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                env={**os.environ, **environment, "PYTHONPATH": f"{PROJECT}{os.pathsep}{folder}"},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def until_it_says(self, pattern: str, seconds: float) -> str:
        """Wait until a line of its standard error matches; returns the first group."""

        def look() -> re.Match[str] | None:
            assert self.process.poll() is None, self.log
            return re.search(pattern, self.log)

        found: re.Match[str] = until(look, seconds, told=lambda: self.log)
        return found.group(1)

    def finish(self, seconds: float = 180) -> Any:
        """Wait for its end, which must be a success; returns the JSON of the last line it printed."""
        assert self.process.wait(seconds) == 0, self.log
        return json.loads(self.output_file.read_text().splitlines()[-1])

    def kill(self) -> None:
        """End it and all it started at once, if it still runs."""
        end_family(self.process)


StartPython = Callable[..., PythonProcess]


@pytest.fixture
def start_python(environment: dict[str, str], tmp_path: Path) -> Iterator[StartPython]:
    """Starts ``python ARGUMENTS`` with the test's settings, and ends those that still run."""
    started: list[PythonProcess] = []

    def start(*arguments: str, **overrides: str) -> PythonProcess:
        process = PythonProcess(tmp_path, f"python{len(started)}", environment | overrides, *arguments)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
