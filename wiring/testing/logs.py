"""What the servers and workers of a test wrote, shown when the test fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LOG_BYTES = 8_000

_LOGS: pytest.StashKey[dict[str, Callable[[], str]]] = pytest.StashKey()


@contextmanager
def shown_on_failure(config: pytest.Config, name: str, log: Callable[[], str] | None) -> Iterator[None]:
    """Show a log with each test that fails meanwhile.

    Args:
        config: of this run of pytest.
        name: whose log it is.
        log: gives its last lines; None: there is none.
    """
    logs = config.stash.setdefault(_LOGS, {})
    if log is not None:
        logs[name] = log
    yield
    logs.pop(name, None)


def add_logs(config: pytest.Config, report: pytest.TestReport) -> None:
    """Add the logs to the report of a test that failed."""
    for name, log in config.stash.get(_LOGS, {}).items():
        try:
            text = log()
        except Exception as error:  # noqa: BLE001 - a log that cannot be read must not hide why the test failed
            text = f"cannot be read: {error}"
        report.sections.append((f"log of {name}", text))


def end_of(file: Path) -> str:
    """The last of what is in a log file."""
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - LOG_BYTES))
        return log.read().decode(errors="replace")
