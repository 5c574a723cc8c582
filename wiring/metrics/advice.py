"""Whether pools have the right size, from what was seen of them.

A pool that is too small makes sessions wait, and fail after ``connection_acquisition_timeout``. One that is too large
costs nothing by itself, but is what the server has to be prepared for at the worst (``pool_budget.py``). So the size
that is recommended is the peak of 24 hours, a quarter more for what was not seen, and one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from typing_extensions import TypedDict

from wiring.metrics.report import WorkerReport

HEADROOM = 1.25


class Advice(TypedDict):
    """What was seen of the pools of one name and server, in all workers, and what follows.

    ``recommended`` is a ``max_connection_pool_size``; None where the present one fits.
    """

    pool: str
    address: str
    recommended: int | None
    text: str


def advise(workers: Iterable[WorkerReport]) -> list[Advice]:
    """One piece of advice for each pool that was used."""
    seen: dict[tuple[str, str], _Seen] = {}
    for worker in workers:
        for process in worker["processes"]:
            for pool in process["pools"]:
                found = seen.setdefault((pool["pool"], pool["address"]), _Seen())
                found.peak = max(found.peak, pool["peak"])
                found.size = max(found.size, pool["max"] or 0)
                found.seconds = max(found.seconds, process["running_for"])
                found.processes += 1
                found.add(pool["acquired"], pool["waited"], pool["timed_out"])
        for ended in worker["ended"]:
            seen.setdefault((ended["pool"], ended["address"]), _Seen()).add(
                ended["acquired"], ended["waited"], ended["timed_out"]
            )
    return [_advice(*key, found) for key, found in seen.items() if found.peak and found.size]


class _Seen:
    def __init__(self) -> None:
        self.peak = self.size = self.processes = self.acquired = self.waited = self.timed_out = 0
        self.seconds = 0.0

    def add(self, acquired: int, waited: int, timed_out: int) -> None:
        self.acquired += acquired
        self.waited += waited
        self.timed_out += timed_out


def _advice(pool: str, address: str, seen: _Seen) -> Advice:
    fitting = math.ceil(seen.peak * HEADROOM) + 1
    peak = f"peak {seen.peak} of {seen.size} in {_span(seen.seconds)}"
    recommended = None
    if seen.waited:
        asked = seen.acquired + seen.timed_out
        said = f"{seen.waited} of {asked} acquisitions waited, {seen.timed_out} in vain; {peak}"
        if fitting > seen.size:
            recommended = fitting
            said += f": raise to {fitting}"
    elif fitting * 2 <= seen.size:
        recommended = fitting
        said = f"{peak}: {fitting} would do"
    else:
        said = f"{peak}: it fits"
    if recommended is not None:
        processes = "1 process" if seen.processes == 1 else f"{seen.processes} processes"
        worst = seen.processes * recommended
        said += f" (NEO4J_MAX_POOL_SIZE; {processes} x {recommended} connections = {worst} at the worst)"
    return Advice(pool=pool, address=address, recommended=recommended, text=said)


def _span(seconds: float) -> str:
    hours = seconds / 3600
    if hours >= 1:
        return f"{min(24, round(hours))} h"
    return f"{max(1, round(seconds / 60))} min"
