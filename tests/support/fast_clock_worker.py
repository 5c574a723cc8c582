"""The ready worker, on a machine whose clock is an hour ahead: ``-A tests.support.fast_clock_worker``."""

from datetime import UTC, datetime, timedelta

import time_machine

time_machine.travel(datetime.now(UTC) + timedelta(hours=1), tick=True).start()

from wiring.celery_app import app  # noqa: E402 - it begins with the wrong clock

__all__ = ["app"]
