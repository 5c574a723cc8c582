"""The bound on what a document, a deletion or a question may take, and what it was waiting for when that was over."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wiring.lightrag.errors import DocumentTimeoutError


@asynccontextmanager
async def time_bound(seconds: float, what: str, fix: str) -> AsyncIterator[None]:
    """Cancel what is done meanwhile when it takes too long.

    Args:
        seconds: ``document_timeout``.
        what: the sentence that is true then, without its end.
        fix: what to do about it, beside raising the bound.

    Raises:
        DocumentTimeoutError: it took too long.
    """
    try:
        async with asyncio.timeout(seconds) as bound:
            yield
    except TimeoutError:
        if not bound.expired():
            raise
        raise DocumentTimeoutError(f"{what} after {seconds:g} s; {fix}, or raise LIGHTRAG_DOCUMENT_TIMEOUT") from None


def where_cut(error: BaseException) -> str:
    """The calls that were waited for when time was up, which tells what hangs; nothing of other errors."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, asyncio.CancelledError):
        cause = cause.__context__
    if cause is None:
        return ""
    calls = [frame.name for frame in traceback.extract_tb(cause.__traceback__)]
    return f", cut in {' > '.join(calls)}"
