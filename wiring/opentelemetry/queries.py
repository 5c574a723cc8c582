"""A span of each query, from the message that asks it until its last record has arrived or it has failed.

The driver tells nobody of that. So three methods of each connection are replaced when it is opened, on that one object
(this was written for neo4j 6.0 to 6.4), and the handlers that they are given for the server's answers are told first.
A query whose end the server does not tell has ended when its connection is given back.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

from opentelemetry.metrics import Histogram
from opentelemetry.trace import Span, SpanKind, StatusCode

from wiring.opentelemetry.cypher import operation_of, shown
from wiring.opentelemetry.scope import Attributes, error_type, tracer, warn_once

NEEDED = ("run", "pull", "discard", "last_database", "unresolved_address")
"""What a connection must have."""

_QUERIES = "_opentelemetry_queries"
_CODES = ("neo4j_code", "code")  # since Bolt 5.7, and before

P = ParamSpec("P")
Method = Callable[Concatenate["_Queries", P], None]


def watch_queries(connection: Any, duration: Histogram) -> None:
    """From now on, make a span of each query on a connection that was just opened.

    Args:
        connection: of a sync or an async driver. If it is of an unknown kind, that is logged, once.
        duration: the seconds that each query took are recorded there as well.
    """
    missing = [name for name in NEEDED if not hasattr(connection, name)]
    if missing:
        warn_once(f"a connection has no {', '.join(missing)}")
    else:
        setattr(connection, _QUERIES, _Queries(connection, duration))


def end_queries(connection: Any) -> None:
    """Nobody waits for a connection's queries any more: it is given back, or given up for the error being handled."""
    queries: _Queries | None = getattr(connection, _QUERIES, None)
    if queries is not None:
        queries.end_all()


class _Query:
    """One query, since now."""

    __slots__ = ("attributes", "qid", "span", "started", "started_at")

    def __init__(self) -> None:
        self.started_at = time.time_ns()
        self.started = time.perf_counter()
        self.attributes: Attributes = {}
        self.span: Span | None = None
        self.qid = -1


def _quietly(tell: Method[P]) -> Method[P]:
    """The driver must not notice when something fails here, or in a span processor of the application."""

    @functools.wraps(tell)
    def call(self: _Queries, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            tell(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, the query goes on
            warn_once(str(error), exc_info=True)

    return call


class _Queries:
    """The queries of one connection that have begun and not ended: several only within a transaction."""

    def __init__(self, connection: Any, duration: Histogram) -> None:
        self._connection = connection
        self._duration = duration
        self._run, self._pull, self._discard = connection.run, connection.pull, connection.discard
        connection.run, connection.pull, connection.discard = self.run, self.pull, self.discard
        address = connection.unresolved_address
        self._server = {"db.system.name": "neo4j", "server.address": address.host, "server.port": address.port}
        self._open: list[_Query] = []
        self._latest: _Query | None = None

    def run(self, query: str, parameters: dict[str, Any] | None = None, **rest: Any) -> None:
        """Ask a query, in place of the connection's own method."""
        asked = _Query()
        rest["on_success"] = _first(functools.partial(self._accepted, asked), rest.get("on_success"))
        rest["on_failure"] = _first(functools.partial(self._failed, asked), rest.get("on_failure"))
        self._run(query, parameters=parameters, **rest)
        self._begin(asked, query, parameters)  # now the connection knows which database is meant

    def pull(self, *args: Any, **rest: Any) -> None:
        """Ask for records, likewise."""
        self._pull(*args, **self._watched(rest))

    def discard(self, *args: Any, **rest: Any) -> None:
        """Ask for the end without the records, likewise."""
        self._discard(*args, **self._watched(rest))

    @_quietly
    def end_all(self) -> None:
        """End those whose end the server did not tell."""
        if self._open:
            error = sys.exception()
            for asked in list(self._open):
                self._end(asked, None if error is None else error_type(error))
        self._latest = None

    def _watched(self, rest: dict[str, Any]) -> dict[str, Any]:
        qid = rest.get("qid", -1)  # -1 is the latest one
        asked = self._latest if qid < 0 else next((each for each in self._open if each.qid == qid), self._latest)
        if asked is None:
            return rest
        return rest | {
            "on_success": _first(functools.partial(self._succeeded, asked), rest.get("on_success")),
            "on_failure": _first(functools.partial(self._failed, asked), rest.get("on_failure")),
        }

    @_quietly
    def _begin(self, asked: _Query, query: str, parameters: dict[str, Any] | None) -> None:
        asked.attributes = attributes = self._server.copy()
        operation, namespace = operation_of(query), self._connection.last_database
        if namespace:
            attributes["db.namespace"] = namespace
        if operation:
            attributes["db.operation.name"] = operation
        name = " ".join(filter(None, (operation, namespace))) or "neo4j"
        asked.span = tracer().start_span(
            name,
            kind=SpanKind.CLIENT,
            attributes=attributes | {"db.query.text": shown(query, parameters)},
            start_time=asked.started_at,
        )
        self._open.append(asked)
        self._latest = asked

    @_quietly
    def _accepted(self, asked: _Query, metadata: dict[str, Any]) -> None:
        asked.qid = metadata.get("qid", -1)

    @_quietly
    def _succeeded(self, asked: _Query, metadata: dict[str, Any]) -> None:
        if metadata.get("has_more"):
            return
        if asked.span is not None and (database := metadata.get("db")):  # a session need not say which
            asked.attributes["db.namespace"] = database
            asked.span.set_attribute("db.namespace", database)
        self._end(asked)

    @_quietly
    def _failed(self, asked: _Query, metadata: dict[str, Any]) -> None:
        self._end(asked, next((metadata[key] for key in _CODES if metadata.get(key)), "_OTHER"))

    def _end(self, asked: _Query, failure: str | None = None) -> None:
        if asked.span is None or asked not in self._open:
            return
        self._open.remove(asked)
        seconds = time.perf_counter() - asked.started
        attributes = asked.attributes
        if failure:
            failed = {"error.type": failure}
            if failure.startswith("Neo."):
                failed["db.response.status_code"] = failure
            attributes |= failed
            asked.span.set_attributes(failed)
            asked.span.set_status(StatusCode.ERROR)  # without the server's words, which may quote a parameter
        asked.span.end(asked.started_at + int(seconds * 1e9))
        self._duration.record(seconds, attributes)


def _first(
    tell: Callable[[dict[str, Any]], None], handler: Callable[[dict[str, Any]], Any] | None
) -> Callable[..., Any]:
    """Both of them; what the handler returns may have to be awaited, which is up to the caller."""

    def both(metadata: dict[str, Any]) -> Any:
        tell(metadata)
        return handler(metadata) if handler is not None else None

    return both
