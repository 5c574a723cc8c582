"""Waiting, within a bound, for something that another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

START_TIMEOUT = 120.0


def until(condition: Callable[[], T | None], seconds: float = 40.0, *, told: Callable[[], str] = str) -> T:
    """Wait until ``condition`` returns something true, and return that.

    Args:
        condition: asked again and again.
        seconds: a bound against hanging, far more than it takes.
        told: what the error says.

    Raises:
        TimeoutError: it did not.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {told()}")
        time.sleep(0.02)
    return found


def until_it_answers(ask: Callable[[], object], what: str, log: Callable[[], str] = str) -> None:
    """Wait until ``ask`` raises nothing any more, two minutes at the most.

    Args:
        ask: asked again and again.
        what: what is asked, for the error.
        log: what it wrote, for the error.

    Raises:
        TimeoutError: it still raises; the message has what.
    """
    raised: list[Exception] = []

    def answers() -> bool:
        try:
            ask()
        except Exception as error:  # noqa: BLE001 - each server has its own
            raised.append(error)
            time.sleep(0.2)
            return False
        return True

    until(answers, START_TIMEOUT, told=lambda: f"{what} does not answer: {raised[-1]}\n{log()}")
