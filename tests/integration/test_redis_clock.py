"""Redis as the broker gives messages back by its own clock, whatever those of workers and clients say.

A message is given back after 20 minutes; the clocks are wrong by an hour.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import PROJECT
from tests.support.brokers import BROKERS
from tests.support.wrong_clock_client import QUEUE, connect, messages_given_back, take


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    broker = BROKERS["redis"](tmp_path)
    broker.start()
    yield broker.url
    broker.close()


@pytest.fixture
def connection(redis_url: str) -> Iterator[Any]:
    """With a message that nobody has taken yet."""
    with connect(redis_url) as connection:
        connection.SimpleQueue(QUEUE).put("a message")
        yield connection


@contextmanager
def wrong_clock(url: str, hours: int, what: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.support.wrong_clock_client", url, str(hours), what]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.communicate(timeout=30)
        assert process.returncode == 0


def test_who_is_ahead_does_not_give_back_what_is_at_work(connection: Any, redis_url: str) -> None:
    take(connection)
    with wrong_clock(redis_url, 1, "give_back") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"


def test_what_is_at_work_where_the_clock_is_behind_is_not_given_back(connection: Any, redis_url: str) -> None:
    with wrong_clock(redis_url, -1, "take") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        assert messages_given_back(connection) == 0
