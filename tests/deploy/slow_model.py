"""The offline model, which takes its time for a document; the image's tests give it to a container."""

from __future__ import annotations

import asyncio
from typing import Any

from wiring.lightrag import offline

SECONDS = 8.0


async def complete(prompt: str, **options: Any) -> str:
    if "---Input Text---" in prompt:
        print("the model begins")  # noqa: T201 - Celery logs it
        await asyncio.sleep(SECONDS)
    return await offline.complete(prompt, **options)
