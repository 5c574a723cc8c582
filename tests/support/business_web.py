"""``business`` in a FastAPI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from app_container import create_container
from tests.support import business
from tests.support.business_calls import Note, noted

container = create_container(wire=[business])


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Close the drivers while the loop runs: after a SIGTERM, uvicorn ends its process without leaving the loop."""
    yield
    closing: Any = container.shutdown_resources()
    await closing


app = FastAPI(lifespan=lifespan)


@app.post("/learn/{workspace}")
async def learn(texts: list[str], workspace: str) -> Note:
    return noted(await business.learn(texts, workspace))


@app.post("/count_mentions/{workspace}")
async def count_mentions(workspace: str) -> Note:
    return noted(await business.count_mentions(workspace))


@app.post("/rank/{workspace}")
def rank(workspace: str) -> Note:
    return noted(business.rank(workspace))
