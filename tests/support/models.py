"""Models for workers in tests, named by their dotted path."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from neo4j.exceptions import ServiceUnavailable

from wiring.lightrag import offline


async def failing_on_request(prompt: str, **options: Any) -> str:
    """The offline model, which fails for a text that says so, unless the file $FORGIVE exists."""
    if "PLEASE-FAIL" in prompt and not os.path.exists(os.environ.get("FORGIVE", "")):  # noqa: PTH110, ASYNC240
        raise ConnectionError("the model is out of order")
    return await offline.complete(prompt, **options)


async def without_neo4j(prompt: str, **options: Any) -> str:
    """The offline model, whose tool cannot reach Neo4j unless the file $FORGIVE exists."""
    if not os.path.exists(os.environ["FORGIVE"]):  # noqa: PTH110, ASYNC240 - it is quick
        raise ServiceUnavailable("the server is away")
    return await offline.complete(prompt, **options)


async def silent(prompt: str, **_: Any) -> str:
    """A model that does not answer."""
    Path(os.environ["ASKED"]).touch()  # noqa: ASYNC240 - it is quick
    await asyncio.sleep(300)
    return prompt


async def slow(prompt: str, **options: Any) -> str:
    """The offline model, after a while."""
    await asyncio.sleep(1.0)
    return await offline.complete(prompt, **options)


async def counted(prompt: str, **options: Any) -> str:
    """The offline model; the file $CALLS gets a line when a call begins and another when it ends."""
    _note("begin")
    await asyncio.sleep(0.2)
    answer = await offline.complete(prompt, **options)
    _note("end")
    return answer


def _note(what: str) -> None:
    file = os.open(os.environ["CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{what} {os.getpid()}\n".encode())
    os.close(file)


def config_with_model(function: str) -> str:
    """A configuration whose model is ``function`` of this module."""
    original = Path(os.environ["APP_CONTAINER_CONFIG"]).read_text()
    Path("config.yaml").write_text(
        original.replace("wiring.lightrag.offline.complete", f"tests.support.models.{function}")
    )
    return str(Path("config.yaml").absolute())
