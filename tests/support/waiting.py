"""Waiting for something that another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], seconds: float = 40.0, *, told: Callable[[], str] = str) -> Any:
    """Wait until ``condition`` returns something true, and return that.

    Args:
        condition: asked again and again.
        seconds: a bound against hanging, far more than it takes.
        told: what the failure says.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {told()}"
        time.sleep(0.02)
    return found
