"""The figures of one process at one moment, as they travel in files; and those of several, added up."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from prometheus_client import Metric

GAUGES = ("gauge", "info", "unknown")
"""Kinds of figures that are of one process, and not added up."""


@dataclass(frozen=True)
class Snapshot:
    """The figures of a process.

    Args:
        pid: the process.
        since: when it began to count, in seconds since the epoch.
        metrics: its figures.
    """

    pid: int
    since: float
    metrics: list[Metric]

    def to_json(self) -> str:
        """As text, without the times at which counting began."""
        families = [
            {
                "name": metric.name,
                "documentation": metric.documentation,
                "type": metric.type,
                "samples": [
                    [sample.name, sample.labels, sample.value]
                    for sample in metric.samples
                    if not sample.name.endswith("_created")
                ],
            }
            for metric in self.metrics
        ]
        return json.dumps({"pid": self.pid, "since": self.since, "metrics": families})

    @classmethod
    def from_json(cls, text: str) -> Snapshot:
        """What ``to_json`` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            read = json.loads(text)
            return cls(read["pid"], read["since"], [_metric(family) for family in read["metrics"]])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no snapshot of figures: {error!r}") from None


def add_up(living: Iterable[Snapshot], past: Iterable[Metric] = ()) -> list[Metric]:
    """The figures of several processes: counts and histograms are added, and gauges told by process (``pid``).

    Args:
        living: processes that run.
        past: what processes counted that do not run any more; their gauges mean nothing and are left out.
    """
    sums: dict[str, _Sum] = {}
    for metric in past:
        if metric.type not in GAUGES:
            sums.setdefault(metric.name, _Sum(metric)).add(metric, {})
    for snapshot in living:
        for metric in snapshot.metrics:
            labels = {"pid": str(snapshot.pid)} if metric.type in GAUGES else {}
            sums.setdefault(metric.name, _Sum(metric)).add(metric, labels)
    return [each.metric() for each in sums.values()]


class _Sum:
    def __init__(self, first: Metric) -> None:
        self._first = first
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def add(self, metric: Metric, labels: dict[str, str]) -> None:
        for sample in metric.samples:
            key = sample.name, tuple({**sample.labels, **labels}.items())
            self._values[key] = self._values.get(key, 0.0) + sample.value

    def metric(self) -> Metric:
        metric = Metric(self._first.name, self._first.documentation, self._first.type)
        for (name, labels), value in self._values.items():
            metric.add_sample(name, dict(labels), value)
        return metric


def _metric(family: dict[str, Any]) -> Metric:
    metric = Metric(family["name"], family["documentation"], family["type"])
    for name, labels, value in family["samples"]:
        metric.add_sample(name, labels, value)
    return metric
