"""What is recommended for the size of pools, and the peaks it rests on. No server."""

from __future__ import annotations

import pytest

from app_container.pools.peaks import HOUR, DailyPeak
from wiring.metrics.advice import advise
from wiring.metrics.report import EndedReport, PoolReport, ProcessReport, WorkerReport


def process(peak: int, waited: int = 0, timed_out: int = 0, size: int = 50, seconds: float = 90_000.0) -> ProcessReport:
    pool = PoolReport(
        pool="worker_loop", address="db:7687", in_use=0, idle=peak, acquiring=0, max=size, peak=peak, acquired=1000,
        waited=waited, timed_out=timed_out, last_success=None,
    )  # fmt: skip
    return ProcessReport(
        pid=1, running_for=seconds, silent_for=0.0, pools=[pool], queued=0, active=0, lag=0.0, documents={}
    )


@pytest.mark.parametrize(
    ("processes", "recommended", "text"),
    [
        (
            [process(7)], 10,
            "peak 7 of 50 in 24 h: 10 would do (NEO4J_MAX_POOL_SIZE; 1 process x 10 connections = 10 at the worst)",
        ),
        (
            [process(3, seconds=300), process(7, seconds=60)], 10,
            "peak 7 of 50 in 5 min: 10 would do (NEO4J_MAX_POOL_SIZE; 2 processes x 10 connections = 20 at the worst)",
        ),
        ([process(30)], None, "peak 30 of 50 in 24 h: it fits"),
        (
            [process(9, waited=400, size=4), process(6, waited=12, timed_out=5, size=4)], 13,
            (
                "412 of 2005 acquisitions waited, 5 in vain; peak 9 of 4 in 24 h: raise to 13 "
                "(NEO4J_MAX_POOL_SIZE; 2 processes x 13 connections = 26 at the worst)"
            ),
        ),
        (  # it waited for another reason: the size was smaller before
            [process(4, waited=2)], None, "2 of 1000 acquisitions waited, 0 in vain; peak 4 of 50 in 24 h",
        ),
    ],
)  # fmt: skip
def test_the_size_of_a_pool_follows_from_its_peak(
    processes: list[ProcessReport], recommended: int | None, text: str
) -> None:
    (advice,) = advise([WorkerReport(worker="w", processes=[each], ended=[]) for each in processes])
    assert (advice["pool"], advice["address"]) == ("worker_loop", "db:7687")
    assert (advice["recommended"], advice["text"]) == (recommended, text)


def test_processes_that_ended_count_with_those_that_run_and_alone_give_no_advice() -> None:
    ended = EndedReport(pool="worker_loop", address="db:7687", acquired=10, waited=3, timed_out=1)
    (advice,) = advise([WorkerReport(worker="w", processes=[process(60)], ended=[ended])])
    assert advice["text"].startswith("3 of 1011 acquisitions waited, 1 in vain; peak 60 of 50 in 24 h: raise to 76")
    assert advise([WorkerReport(worker="w", processes=[], ended=[ended])]) == []


def test_a_peak_is_forgotten_after_a_day() -> None:
    now = 0.0
    peak = DailyPeak(lambda: now)
    assert peak.last_day() == 0
    peak.note(9)
    peak.note(3)
    now = 5 * HOUR
    peak.note(4)
    assert peak.last_day() == 9
    now = 24.5 * HOUR
    assert peak.last_day() == 9
    now = 25 * HOUR
    assert peak.last_day() == 4
    now = 48 * HOUR
    assert peak.last_day() == 0
