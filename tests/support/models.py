"""Models for workers in tests, named by their dotted path."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from neo4j.exceptions import ServiceUnavailable

from wiring.lightrag import offline


async def failing_on_request(prompt: str, **options: Any) -> str:
    """The offline model, which fails for a text that says so, and tells secrets, unless the file $FORGIVE exists."""
    if "PLEASE-FAIL" in prompt and not os.path.exists(os.environ.get("FORGIVE", "")):  # noqa: PTH110, ASYNC240
        raise ConnectionError(f"the model is out of order: {os.environ['NEO4J_PASSWORD']}")
    return await offline.complete(prompt, **options)


async def without_neo4j(prompt: str, **options: Any) -> str:
    """The offline model, whose tool cannot reach Neo4j unless the file $FORGIVE exists."""
    if not os.path.exists(os.environ["FORGIVE"]):  # noqa: PTH110, ASYNC240 - it is quick
        raise ServiceUnavailable("the server is away")
    return await offline.complete(prompt, **options)


async def as_told(prompt: str, **options: Any) -> str:
    """The offline model, which fails or hangs for a text that says so, and once finds that Neo4j is away."""
    if "PLEASE-FAIL" in prompt:
        raise ConnectionError("the model is out of order")
    if "PLEASE-HANG" in prompt:
        await asyncio.sleep(300)
    if "PLEASE-WAIT" in prompt and not os.path.exists(os.environ["FORGIVE"]):  # noqa: PTH110, ASYNC240 - it is quick
        Path(os.environ["FORGIVE"]).touch()  # noqa: ASYNC240
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
    """The offline model, which writes to $MODEL_CALLS when a call begins and when it ends."""
    _write_call("begin", "-")
    await asyncio.sleep(0.2)
    answer = await offline.complete(prompt, **options)
    _write_call("end", "-")
    return answer


async def watched(prompt: str, **options: Any) -> str:
    """The offline model, which takes $MODEL_SECONDS to read a document of ``fault_runs`` and writes to $MODEL_CALLS.

    Each line there is a time, ``begin`` or ``end``, the process, and the document. A text that says PLEASE-DIE kills
    the process that reads it.
    """
    document = re.search(r"---Input Text---.*\bRoom(\d+)\.", prompt, re.DOTALL)
    if document is None or options.get("history_messages"):  # no extraction, or the second look at the same text
        return await offline.complete(prompt, **options)
    _write_call("begin", document.group(1))
    if "PLEASE-DIE" in prompt:
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(float(os.environ["MODEL_SECONDS"]))
    answer = await offline.complete(prompt, **options)
    _write_call("end", document.group(1))
    return answer


def _write_call(what: str, document: str) -> None:
    with Path(os.environ["MODEL_CALLS"]).open("a") as calls:  # one write at the end of the file, whole
        calls.write(f"{time.monotonic()} {what} {os.getpid()} {document}\n")


def config_with_model(function: str) -> str:
    """A configuration whose model is ``function`` of this module."""
    original = Path(os.environ["APP_CONTAINER_CONFIG"]).read_text()
    Path("config.yaml").write_text(
        original.replace("wiring.lightrag.offline.complete", f"tests.support.models.{function}")
    )
    return str(Path("config.yaml").absolute())
