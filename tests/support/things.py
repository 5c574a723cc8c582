"""Values that count how often they are closed, on both lifetimes."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from dependency_injector import containers

from app_container.lifetimes import LoopLocalResource, ProcessSingleton


class Thing:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class AsyncThing(Thing):
    async def close(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        self.closed += 1


class Holder(containers.DeclarativeContainer):
    per_process: ProcessSingleton[Any] = ProcessSingleton(Thing)
    per_loop: LoopLocalResource[Any] = LoopLocalResource(AsyncThing)


@pytest.fixture
def holder() -> Any:
    return Holder()
