"""What OpenTelemetry is told, in this process; and what processes wrote to files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.metrics import _internal as metrics_globals
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once

from wiring.opentelemetry import pools, scope


class Told(SpanProcessor):
    """Has what was told since the test began."""

    def __init__(self) -> None:
        self.started = 0
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self._traces = TracerProvider()
        self.process_spans_by(SimpleSpanProcessor(self._spans))
        self.process_spans_by(self)
        trace.set_tracer_provider(self._traces)
        metrics.set_meter_provider(MeterProvider([self._reader]))

    def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ARG002 - the processor's
        self.started += 1

    def process_spans_by(self, processor: SpanProcessor) -> None:
        self._traces.add_span_processor(processor)

    def spans(self) -> list[ReadableSpan]:
        """Those that have ended since it was asked last."""
        found = self._spans.get_finished_spans()
        self._spans.clear()
        return list(found)

    def points(self, metric: str) -> list[Any]:
        return [point for each in self._metrics() if each.name == metric for point in each.data.data_points]

    def units(self) -> dict[str, str]:
        return {each.name: each.unit for each in self._metrics()}

    def _metrics(self) -> Iterable[Any]:
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for each in resource.scope_metrics:
                yield from each.metrics


@pytest.fixture
def told() -> Iterator[Told]:
    """The application's providers, for one test; an application has them once and for all."""
    _forget()
    yield Told()
    _forget()


def _forget() -> None:
    trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = None, Once()
    metrics_globals._METER_PROVIDER, metrics_globals._METER_PROVIDER_SET_ONCE = None, Once()
    metrics_globals._PROXY_METER_PROVIDER = metrics_globals._ProxyMeterProvider()
    for made_once in (scope.tracer, scope.meter, pools.instruments, scope._warned):
        made_once.cache_clear()


def written(folder: Path, pattern: str) -> list[dict[str, Any]]:
    """The JSON objects, one after the other, in files that exporters for the console wrote."""
    decoder, found = json.JSONDecoder(), []
    for file in folder.glob(pattern):
        text = file.read_text().strip()
        while text:
            item, end = decoder.raw_decode(text)
            found.append(item)
            text = text[end:].lstrip()
    return found
