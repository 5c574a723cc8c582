"""Redis as the broker, by one clock: its own, not that of each worker's machine.

kombu notes in Redis when a message was taken, and every worker gives back what was taken more than
``visibility_timeout`` ago. Both times are of the worker's machine. Where one is wrong by more than that, tasks that run
are delivered again and again, until it looks as if they killed their workers.
"""

from __future__ import annotations

import time
from typing import Any

from celery import Celery, bootsteps


class RedisClock:
    """Seconds as ``time.time()`` tells them, but of the server that was last asked."""

    def __init__(self) -> None:
        self._started = time.time() - time.monotonic()

    def __call__(self) -> float:
        """The time."""
        return self._started + time.monotonic()

    def set(self, seconds: int, microseconds: int) -> None:
        """Go by this time, as Redis' command ``TIME`` tells it."""
        self._started = seconds + microseconds / 1e6 - time.monotonic()


_clock = RedisClock()


def use_clock_of_redis(app: Celery) -> None:
    """Let workers of ``app`` ask for the time whenever they connect to their broker, and let kombu go by it."""
    from kombu.transport import redis

    redis.time = _clock  # type: ignore[attr-defined]  # the stub leaves it out
    app.steps["consumer"].add(AskForTime)


class AskForTime(bootsteps.StartStopStep):
    """A step of each connection of a worker to its broker; messages are taken after all steps."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, parent: Any) -> None:
        """Ask the server that ``parent``, Celery's consumer, has just connected to."""
        # A connection of its own: that of the channel may be waiting for messages.
        with parent.connection.default_channel.conn_or_acquire() as client:
            _clock.set(*client.time())
