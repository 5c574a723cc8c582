"""The highest value of the last day."""

from __future__ import annotations

import time
from collections.abc import Callable

HOUR = 3600.0
HOURS = 24


class DailyPeak:
    """Keeps the highest value of each hour, and forgets hours that are more than a day old.

    Args:
        clock: seconds, steady.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_hour: dict[int, int] = {}
        self._highest, self._until = 0, 0.0

    def note(self, value: int) -> None:
        """A value that was reached now; quick where it is not the highest of this hour."""
        now = self._clock()
        if value > self._highest or now >= self._until:
            hour = int(now // HOUR)
            self._highest, self._until = max(value, self._by_hour.get(hour, 0)), (hour + 1) * HOUR
            self._by_hour[hour] = self._highest

    def last_day(self) -> int:
        """The highest value of this hour and the 24 before it; 0 if there was none."""
        oldest = int(self._clock() // HOUR) - HOURS
        for hour in [hour for hour in list(self._by_hour) if hour < oldest]:
            self._by_hour.pop(hour, None)
        return max(list(self._by_hour.values()), default=0)
