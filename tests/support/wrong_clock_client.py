"""A client of the broker, where the clock is wrong: ``python -m tests.support.wrong_clock_client URL HOURS WHAT``.

``take`` takes a message, says so, and keeps it until it is told to end; ``give_back`` gives back what was at work for
too long, and says how many messages can be taken then.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import time_machine

from app_container.settings import CelerySettings

QUEUE = "clocks"


def connect(url: str) -> Any:
    """A connection of an app as ``config.yaml`` makes it."""
    from wiring.celery.options import make_app

    return make_app(CelerySettings(broker_url=url, result_backend=url)).connection_for_read()


def take(connection: Any) -> None:
    """Take a message, to work on it."""
    connection.SimpleQueue(QUEUE).get(timeout=5)


def messages_given_back(connection: Any) -> int:
    """Give back what was taken too long ago; returns how many messages there are."""
    channel = connection.default_channel
    channel.qos.restore_visible()
    return int(channel._size(QUEUE))  # what is public takes an empty queue for none


def main(url: str, hours: str, what: str) -> None:
    time_machine.travel(datetime.now(UTC) + timedelta(hours=int(hours)), tick=True).start()
    with connect(url) as connection:
        if what == "take":
            take(connection)
            sys.stdout.write("taken\n")
            sys.stdout.flush()
            sys.stdin.readline()
        else:
            sys.stdout.write(f"{messages_given_back(connection)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
