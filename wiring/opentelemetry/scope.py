"""Under which name OpenTelemetry is told, and how failures are: of what is told, and of the telling."""

from __future__ import annotations

import functools
import logging
from importlib.metadata import version
from typing import Any

from opentelemetry import metrics, trace

from app_container.errors import AppContainerError, describe
from app_container.masking import mask

SCOPE = "lightrag-neo4j-wiring"

Attributes = dict[str, Any]

_log = logging.getLogger("wiring.opentelemetry")


@functools.cache
def tracer() -> trace.Tracer:
    """Makes spans, by the provider that the application has set by then."""
    return trace.get_tracer(SCOPE, version(SCOPE))


@functools.cache
def meter() -> metrics.Meter:
    """Makes instruments, likewise."""
    return metrics.get_meter(SCOPE, version(SCOPE))


def error_type(error: BaseException) -> str:
    """What ``error.type`` says: the server's code, such as Neo.ClientError.Statement.SyntaxError, else the class."""
    from neo4j.exceptions import Neo4jError

    if isinstance(error, Neo4jError) and error.code:
        return error.code
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def fail(span: trace.Span, error: BaseException) -> None:
    """Let a span end as failed.

    Texts of others may quote what is in a document, or a parameter of a query, so only this project's own are told.
    """
    span.set_attribute("error.type", error_type(error))
    span.set_status(trace.StatusCode.ERROR, mask(describe(error)) if isinstance(error, AppContainerError) else None)


def warn_once(reason: str, *, exc_info: bool = False) -> None:
    """Log that something is not told, for the first reason of this process.

    Args:
        reason: why.
        exc_info: whether the error that is being handled is logged as well.
    """
    if not _warned():
        _warned().append(reason)
        _log.warning(
            "OpenTelemetry is not told of pools or queries as it should be, but they go on: %s",
            reason,
            exc_info=exc_info,
        )


@functools.cache
def _warned() -> list[str]:
    return []
