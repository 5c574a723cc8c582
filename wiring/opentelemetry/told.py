"""What is told to OpenTelemetry of documents and drivers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app_container.pools.pool_watch import watch_pool
from wiring.opentelemetry.pools import ToldPool, observe
from wiring.opentelemetry.scope import fail, tracer, warn_once
from wiring.opentelemetry.telemetry import Telemetry, Work

if TYPE_CHECKING:
    from app_container.metrics import Metrics

_PLACE = "traceparent"
_places = TraceContextTextMapPropagator()


class ToldTelemetry(Telemetry):
    """Tells OpenTelemetry.

    Args:
        metrics: the figures of the process.
    """

    def __init__(self, metrics: Metrics) -> None:
        observe(metrics)

    def watch_driver(self, driver: Any, lifetime: str) -> None:
        """Tell of a driver; see ``Telemetry``. If it keeps its pool in a way that is not known here, that is logged."""
        try:
            watch_pool(driver._pool, ToldPool(lifetime))  # noqa: SLF001 - neo4j 6 has no public way
        except AttributeError as error:
            warn_once(str(error))

    @contextmanager
    def work(
        self, what: Work, workspace: str, document_id: str | None = None, accepted: str | None = None
    ) -> Iterator[None]:
        """Make a span of work; see ``Telemetry``.

        Its parent is what is being done here, or was being done where the document was accepted.
        """
        parent = None if accepted is None else _places.extract({_PLACE: accepted}, context.Context())
        attributes = {"lightrag.workspace": workspace}
        if document_id is not None:
            attributes["lightrag.document.id"] = document_id
        span = tracer().start_span(f"lightrag.{what}", parent, attributes=attributes)
        token = context.attach(trace.set_span_in_context(span))
        try:
            yield
        except BaseException as error:
            fail(span, error)
            raise
        finally:
            context.detach(token)
            span.end()

    def place(self) -> str | None:
        """The span that is current here, as W3C's header ``traceparent``."""
        carrier: dict[str, str] = {}
        _places.inject(carrier)
        return carrier.get(_PLACE)

    def work_failed(self, error: BaseException) -> None:
        """Let the span that is current here end as failed."""
        fail(trace.get_current_span(), error)
