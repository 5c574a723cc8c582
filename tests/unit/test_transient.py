"""Which errors pass by themselves."""

from __future__ import annotations

import pytest
from neo4j.exceptions import (
    AuthError,
    ClientError,
    ConnectionAcquisitionTimeoutError,
    ConstraintError,
    IncompleteCommit,
    ServiceUnavailable,
    SessionExpired,
    TransientError,
    WriteServiceUnavailable,
)
from tenacity import retry, stop_after_attempt

from app_container.errors import ConfigurationError, PassingError
from app_container.transient import passing_cause
from wiring.lightrag.errors import DocumentFailedError, DocumentPostponedError


def client_error(code: str) -> ClientError:
    error = ClientError._hydrate_neo4j(code=code, message="it ended")
    assert isinstance(error, ClientError)
    return error


PASSING = [
    ServiceUnavailable("away"),
    IncompleteCommit("perhaps"),
    WriteServiceUnavailable("no leader"),
    SessionExpired("old"),
    TransientError("deadlock"),
    ConnectionAcquisitionTimeoutError("full"),
    client_error("Neo.ClientError.Transaction.LockClientStopped"),
    client_error("Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration"),
    PassingError("one of ours"),
    DocumentPostponedError("one of LightRAG's"),
]

LASTING = [
    ConstraintError("twice"),
    AuthError("wrong password"),
    client_error("Neo.ClientError.Statement.SyntaxError"),
    ConfigurationError(),
    DocumentFailedError("the model refused"),
    ValueError("else"),
    TimeoutError(),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_these_pass_also_inside_of_others(error: Exception) -> None:
    @retry(stop=stop_after_attempt(2))
    def in_vain() -> None:
        raise error

    def raised_from() -> None:
        try:
            in_vain()
        except Exception as retry_error:
            raise RuntimeError("no node") from retry_error

    assert passing_cause(error) is error

    def raised_by_lightrag() -> None:
        try:
            in_vain()
        except Exception as retry_error:
            raise type(retry_error)("Ada: RetryError") from retry_error

    for function in (in_vain, raised_from, raised_by_lightrag):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - its type does not matter
            function()
        assert passing_cause(caught.value) is error


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
def test_these_do_not(error: Exception) -> None:
    assert passing_cause(error) is None


def test_an_error_that_is_its_own_cause_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert passing_cause(first) is None
