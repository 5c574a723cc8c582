"""Redis as the broker, by one clock: its own, not that of each worker's machine.

kombu notes in Redis when a message was taken, and gives back what was taken more than ``visibility_timeout`` ago. Both
times are of the machine that does so. Where one is wrong by more than that, tasks that run are delivered again and
again, until it looks as if they killed their workers.
"""

from __future__ import annotations

import time
from typing import Any

from kombu.transport import redis


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


class QoS(redis.QoS):
    """kombu's note of the messages that are at work, of one channel, which first asks the server for the time.

    A channel is made for each connection, so it is asked again after each reconnection.
    """

    _has_asked = False

    def append(self, message: Any, delivery_tag: Any) -> None:
        """Note a message that was taken; see kombu."""
        self._ask()
        super().append(message, delivery_tag)

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:
        """Give back what was taken too long ago; see kombu."""
        self._ask()
        super().restore_visible(start, num, interval)

    def _ask(self) -> None:
        if not self._has_asked:
            # A connection of its own: that of the channel may be waiting for messages.
            with self.channel.conn_or_acquire() as client:  # type: ignore[attr-defined]  # the stub leaves it out
                _clock.set(*client.time())
            self._has_asked = True


def use_clock_of_redis() -> None:
    """Let kombu, in this process, go by the clock of the Redis that it is connected to."""
    redis.time = _clock  # type: ignore[attr-defined]  # the stub leaves it out
    redis.Channel.QoS = QoS
