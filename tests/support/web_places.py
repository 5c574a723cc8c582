"""A FastAPI application whose endpoints ask for a driver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from tests.support.places import Answer, ask, ask_async, container_for


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Close the drivers while the loop runs: after a SIGTERM, uvicorn ends its process without leaving the loop."""
    yield
    for place in ("async", "sync"):
        closing: Any = container_for(place).shutdown_resources()
        await closing


app = FastAPI(lifespan=lifespan)


@app.get("/async")
async def endpoint() -> Answer:
    return await ask_async("async")


@app.get("/sync")
def endpoint_in_a_thread() -> Answer:
    return ask("sync")
