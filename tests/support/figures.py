"""Reads one figure of a process, as the sum of the samples that have the labels that are named."""

from __future__ import annotations

from prometheus_client.registry import Collector


def figure(figures: Collector, name: str, **labels: str) -> float:
    """The value of a figure; 0 if there is none with these labels."""
    return sum(
        sample.value
        for metric in figures.collect()
        for sample in metric.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
