"""How many leaks a process detected."""

from __future__ import annotations

from prometheus_client.registry import Collector


def leaks_detected(figures: Collector) -> dict[str, int]:
    """The count of each kind that is not 0."""
    return {
        sample.labels["kind"]: int(sample.value)
        for metric in figures.collect()
        for sample in metric.samples
        if sample.name == "neo4j_driver_leaks_detected_total" and sample.value
    }
