"""What happened in the pools of one name and server since the process began, in plain numbers.

Each query adds to them, and pays for every microsecond of it. prometheus_client's own counters and histograms each take
a lock; here one is taken for all that an event adds to.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

from app_container.pools.peaks import DailyPeak

SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""The limits that OpenTelemetry's semantic conventions name for the times of a database client's connections."""


class Durations:
    """Seconds, counted by how many there are up to each limit. Whoever adds holds a lock."""

    __slots__ = ("_counts", "total")

    def __init__(self) -> None:
        self._counts = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self._counts)

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Each limit, as Prometheus writes it, and how many are not longer."""
        number = 0
        for limit, count in zip((*map(str, SECONDS), "+Inf"), self._counts, strict=True):
            number += count
            yield limit, number


@dataclass(slots=True)
class PoolTotals:
    """The numbers. ``lock`` is held while they are changed, and while several are read that must fit."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    created: int = 0
    failed: int = 0
    waited: int = 0
    timed_out: int = 0
    closed: int = 0
    acquisition: Durations = field(default_factory=Durations)
    creation: Durations = field(default_factory=Durations)
    usage: Durations = field(default_factory=Durations)
    peak: DailyPeak = field(default_factory=DailyPeak)
    last_success: float = 0.0

    @property
    def acquired(self) -> int:
        """Connections that were given to somebody."""
        return self.acquisition.count
