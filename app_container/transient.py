"""Which errors pass by themselves, so that the same work will succeed when it is done again later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app_container.errors import PassingError

LOCK_TIMEOUTS = (
    "Neo.ClientError.Transaction.LockClientStopped",
    "Neo.ClientError.Transaction.TransactionTimedOut",
    "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration",
)
"""The server ended a transaction, because it waited for a lock or ran longer than ``transaction_timeout``."""


def passing_cause(error: BaseException) -> BaseException | None:
    """The error that passes by itself, in ``error`` or in what it was raised from; None if there is none.

    These pass: the server is away, restarts, changes its leader or asks to try again (``ServiceUnavailable``, also
    ``IncompleteCommit``, ``SessionExpired``, ``TransientError``); no connection became free in time
    (``ConnectionAcquisitionTimeoutError``); a transaction waited for a lock until its time was over; the server refuses
    a password that is in a file, which may be about to change (``refusal_passes``); and any ``PassingError`` of this
    project. Work that is done again because of them must be idempotent: a commit whose answer was lost may have
    happened.

    LightRAG wraps what it tried in vain in tenacity's ``RetryError``; that is looked into.
    """
    return next((each for each in _with_causes(error) if _passes(each)), None)


def _passes(error: BaseException) -> bool:
    if isinstance(error, PassingError):
        return True
    from neo4j.exceptions import (
        ConnectionAcquisitionTimeoutError,
        DriverError,
        Neo4jError,
        ServiceUnavailable,
        SessionExpired,
        TransientError,
    )

    from app_container.credentials import refusal_passes

    if isinstance(error, (ServiceUnavailable, SessionExpired, TransientError, ConnectionAcquisitionTimeoutError)):
        return True
    if isinstance(error, Neo4jError):
        return error.is_retryable() or error.code in LOCK_TIMEOUTS or refusal_passes(error.code)
    return isinstance(error, DriverError) and error.is_retryable()


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        # tenacity.RetryError, without importing tenacity. LightRAG also makes some out of a text, with a cause.
        attempt: Any = getattr(following, "last_attempt", None)
        following = attempt.exception() if hasattr(attempt, "exception") else following.__cause__
